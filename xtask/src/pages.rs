//! The man pages: one for each command, in section 8.

use std::io;

use clap::Command;
use clap_mangen::Man;

/// The words that every page ends with, in roff.
const FILES: &str = r".SH FILES
.TP
.I /etc/multihome/config.toml\fR, \fI/etc/multihome/config.d/*.toml
The configuration, read in this order; none of it needs to be there.
See
.BR multihome.toml (5).
.TP
.I /run/multihome/gateways.json
Gateways learnt before, for links that go down and come back.
.TP
.I /run/multihome/sysctls.json
What sysctls were before they were raised; `multihome down' puts them back.
.TP
.I /run/sysctl.d/99-zz-multihome.conf
The raised values, for systemd-sysctl; written where multihome runs as root under systemd.
.TP
.I /run/multihome/lock\fR, \fI/run/multihome/daemon
Locks: whoever changes the kernel right now, and the daemon.
.TP
.I /etc/iproute2/rt_tables.d/multihome.conf
Names of tables that the configuration made up.
";

const ENVIRONMENT: &str = r".SH ENVIRONMENT
.TP
.B NO_COLOR
Set to anything, it keeps colours out of the output.
.TP
.B RUNTIME_DIRECTORY
What to use in the place of /run/multihome, if its last component begins with
.BR multihome ;
systemd sets it.
";

const EXIT_STATUS: &str = r".SH EXIT STATUS
.TP
.B 0
Done; for
.BR status :
all is well, or there is nothing to do.
.TP
.B 1
Failed, or not done completely.
.TP
.B 2
Changes are pending, or the host is not as it should be
.RB ( status ,
.BR doctor ,
and
.B plan
with
.BR \-\-detailed\-exitcode ).
.TP
.B 64
Wrong usage.
.TP
.B 78
Wrong configuration.
";

/// All pages: file name and text.
pub fn all(command: &Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    walk(command, &mut Vec::new(), &mut pages)?;
    Ok(pages)
}

fn walk(
    command: &Command,
    above: &mut Vec<String>,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push((format!("{name}.8"), page(command, &name, above)?));
    above.push(name);
    for sub in command.get_subcommands() {
        walk(sub, above, pages)?;
    }
    above.pop();
    Ok(())
}

fn page(command: &Command, name: &str, above: &[String]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(name)
        .section("8")
        .manual("multihome")
        .source(concat!("multihome ", env!("CARGO_PKG_VERSION")))
        // A date would make every build another one.
        .date("");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut text = String::from_utf8(out).map_err(io::Error::other)?;
    text.push_str(EXIT_STATUS);
    if above.is_empty() {
        text.push_str(ENVIRONMENT);
        text.push_str(FILES);
    }
    text.push_str(&see_also(command, above));
    Ok(text.into_bytes())
}

fn see_also(command: &Command, above: &[String]) -> String {
    let below = command.get_subcommands().filter_map(|c| c.get_display_name());
    let mut others: Vec<String> = above
        .iter()
        .map(String::as_str)
        .chain(below)
        .map(|n| format!(".BR {} (8)", n.replace('-', r"\-")))
        .collect();
    others.push(".BR multihome.toml (5)".into());
    others.push(r".BR ip\-rule (8)".into());
    format!(".SH SEE ALSO\n{}\n", others.join(",\n"))
}
