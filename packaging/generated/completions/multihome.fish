# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_multihome_global_optspecs
    string join \n config= log-level= h/help V/version
end

function __fish_multihome_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_multihome_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_multihome_using_subcommand
    set -l cmd (__fish_multihome_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c multihome -n "__fish_multihome_needs_command" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_needs_command" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_needs_command" -s V -l version -d 'Print version'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "status" -d 'Show how the host stands: first line the verdict, then each uplink'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "plan" -d 'Show what `apply` would change, as `ip` commands; changes nothing'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "explain" -d 'Say why one packet goes where it goes: each rule, the route, and whether that is right'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "verify" -d 'Prove that every answer leaves by its door, also when any one uplink fails'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "what-if" -d 'Suppose that something happens: what multihome would do, and whether all is right then'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "diagram" -d 'Draw the host; with a request, its way in and the reply\'s way out'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "apply" -d 'Put the host right once, and exit'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "run" -d 'Keep the host right until told to stop (SIGHUP reads the configuration again)'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "down" -d 'Take away all that multihome made, exactly'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "doctor" -d 'Look for what breaks hosts with several networks beyond routing; changes nothing'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "snapshot" -d 'Write what the kernel holds, for `--snapshot` and for bug reports'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "export" -d 'Write the plan as another system\'s files, for hosts that are to keep it without multihome'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "import" -d 'Read what keeps this host by hand or by another system\'s files: what it does, what is wrong with it, and the configuration that does at least the same'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "config" -d 'Check or show the configuration'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "hook" -d 'Tell multihome what a network manager\'s hook was told; always exits 0'
complete -c multihome -n "__fish_multihome_needs_command" -f -a "demo" -d 'See it work: a cloud network in namespaces, real packets, nothing of this host touched'
complete -c multihome -n "__fish_multihome_using_subcommand status" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand status" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand status" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand status" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand plan" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand plan" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand plan" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand plan" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand plan" -l detailed-exitcode -d 'Exit with 2 when changes are pending'
complete -c multihome -n "__fish_multihome_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l iif -d 'The packet comes in by this interface, instead of being sent by this host' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l oif -d 'It is sent by a socket that is bound to this interface (SO_BINDTODEVICE)' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l mark -d 'Its mark (SO_MARK, or the firewall\'s), as 16 or 0x10' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l proto -d 'Its protocol: tcp, udp, icmp, ipv6-icmp, sctp or a number' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l sport -d 'Its source port' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l dport -d 'Its destination port' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l uid -d 'The user who sends it; what the kernel sends itself is root\'s' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l tos -d 'Its TOS or traffic class byte, as 16 or 0x10' -r
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand explain" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand verify" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand verify" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand verify" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand verify" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l link-down -d 'A link goes down, as by `ip link set LINK down`' -r
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l carrier-lost -d 'A link loses its carrier' -r
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l add-address -d 'A link gets an address' -r
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l del-address -d 'A link loses an address' -r
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l route -d 'A route is added or deleted, in the words of `ip route`' -r
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l write -d 'Write the host as it would be, before multihome acts, for `--snapshot`' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand what-if" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l format -d 'The form of the drawing' -r -f -a "text\t'Plain characters, 80 columns'
svg\t'A picture for browsers and documents, light and dark'
dot\t'Graphviz\'s language'"
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l from -d 'The client of a request to draw' -r
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l to -d 'The address of this host that the client asks' -r
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand diagram" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand apply" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand apply" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand apply" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand run" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand run" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand down" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand down" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand down" -l force -d 'Do it although the daemon runs and will put everything back'
complete -c multihome -n "__fish_multihome_using_subcommand down" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand doctor" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand doctor" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand doctor" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand doctor" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand snapshot" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand snapshot" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand snapshot" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand snapshot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand export" -l format -d 'Whose files to write' -r -f -a "ifcfg\t'initscripts: route-IF and rule-IF (RHEL\'s network-scripts)'
ifupdown\t'Debian\'s /etc/network/interfaces'
networkd\t'systemd-networkd: a drop-in beside each active .network file'
networkmanager\t'NetworkManager\'s keyfiles'
netplan\t'netplan\'s YAML'
nmstate\t'nmstate\'s YAML'
wicked\t'SUSE\'s wicked: ifroute-IF and ifrule-IF'
iproute2\t'A script of ip commands, and a unit that runs it'
cloud-init\t'cloud-init\'s network configuration'"
complete -c multihome -n "__fish_multihome_using_subcommand export" -l output -d 'Write them below this directory, as if it were /; without it they are only shown' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand export" -l root -d 'Where the files that are there are read, to extend them and not to stand in their way: /, or nowhere with --snapshot' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand export" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand export" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand export" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand export" -l force -d 'Write also over files that are there and say something else'
complete -c multihome -n "__fish_multihome_using_subcommand export" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand import" -l from -d 'Whose files to read; without it, the rules and routes that are in force' -r -f -a "ifcfg\t'initscripts: route-IF and rule-IF'
ifupdown\t'Debian\'s /etc/network/interfaces'
networkd\t'systemd-networkd\'s .network files'
networkmanager\t'NetworkManager\'s keyfiles'
netplan\t'netplan\'s YAML'
iproute2\t'Scripts of ip commands'"
complete -c multihome -n "__fish_multihome_using_subcommand import" -l root -d 'Where the files are read: the copy of another host\'s, with --snapshot' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand import" -l output -d 'Write the configuration to this file' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand import" -l snapshot -d 'Read this file, written by `multihome snapshot`, instead of the kernel' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand import" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand import" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand import" -l force -d 'Write it even over a file that says something else'
complete -c multihome -n "__fish_multihome_using_subcommand import" -l adopt -d 'Take over: write /etc/multihome/config.toml, put ours in the place of what is in force, and say which files are to go'
complete -c multihome -n "__fish_multihome_using_subcommand import" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand config; and not __fish_seen_subcommand_from check show" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand config; and not __fish_seen_subcommand_from check show" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand config; and not __fish_seen_subcommand_from check show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "check" -d 'Check a configuration file, or those in force'
complete -c multihome -n "__fish_multihome_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "show" -d 'Show the values in force and where each comes from'
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from check" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from show" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand hook" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand hook" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand hook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c multihome -n "__fish_multihome_using_subcommand demo" -l topology -d 'The network to build' -r -f -a "two-subnets\t'A host with a card in each of two subnets'
same-subnet\t'Two cards in one subnet'
campus\t'A management and a data network, default by the first only'
containers\t'Two subnets, and a container behind a bridge on the host'"
complete -c multihome -n "__fish_multihome_using_subcommand demo" -l config -d 'Read this configuration file instead of /etc/multihome/config.toml and config.d' -r -F
complete -c multihome -n "__fish_multihome_using_subcommand demo" -l log-level -d 'What to log to stderr' -r -f -a "error\t'What failed'
warn\t'What is not as it should be'
info\t'What was changed and why'
debug\t'Each look and each step'
trace\t'Each event'"
complete -c multihome -n "__fish_multihome_using_subcommand demo" -l shell -d 'Open a shell inside when the demo is over; the network ends with it'
complete -c multihome -n "__fish_multihome_using_subcommand demo" -l json -d 'Print JSON'
complete -c multihome -n "__fish_multihome_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
