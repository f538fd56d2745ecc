//! A laboratory with the program under test in its host, and what `ip` says there.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use multihome_lab::{Answer, Answerer, Ask, Lab, Netns, Proto, Topology, ask, until_answered};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::program::Program;
use crate::runner::program;

/// Long for a veth pair; longer than TCP's first retransmission, for a machine with other work.
const TIMEOUT: Duration = Duration::from_millis(2500);
/// How soon the daemon has put things right, on a machine with other work.
pub const SOON: Duration = Duration::from_secs(3);
/// The configuration that is read without `--config`.
pub const CONFIG: &str = "/etc/multihome/config.toml";

/// A laboratory, and the programs in its host.
pub struct World {
    /// The machines.
    pub lab: Lab,
    /// The first process of a system that was booted in the host.
    pub init: Option<u32>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none after a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// `multihome run`, until it is dropped.
pub struct Daemon {
    program: Program,
    notices: Arc<Mutex<Vec<String>>>,
}

// ===== impl World: making and asking =====

impl World {
    /// A network of the laboratory.
    pub fn new(topology: Topology) -> World {
        let world = World { lab: Lab::build(topology).unwrap(), init: None };
        // A bridge takes a moment to see its port, and then makes an address of its own.
        if world.host().has_link("docker0") {
            eventually("the bridge has settled", SOON, || {
                world.ip("-6 address show dev docker0 scope link -tentative").contains("fe80:")
                    && !world.ip("link").contains("NO-CARRIER")
            });
        }
        world
    }

    /// The host's namespace.
    pub fn host(&self) -> &Arc<Netns> {
        self.lab.host()
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        fs::create_dir_all("/etc/multihome").unwrap();
        fs::write(CONFIG, text).unwrap();
    }

    /// The first client: the one far away.
    pub fn remote(&self) -> &Arc<Netns> {
        &self.lab.clients()[0].netns
    }

    /// Every client is answered by every address, at the first question.
    #[track_caller]
    pub fn assert_all_answer_at_once(&self) {
        let matrix = self.lab.matrix(TIMEOUT).unwrap();
        assert!(matrix.all_answered(), "{matrix}\n{}", self.dump());
    }

    /// Every client is answered by every address, in a while.
    #[track_caller]
    pub fn assert_all_answer(&self) {
        self.assert_all_answer_within(SOON);
    }

    /// As [`World::assert_all_answer`], with patience for programs that take longer than ours.
    #[track_caller]
    pub fn assert_all_answer_within(&self, within: Duration) {
        let start = Instant::now();
        let quick = Duration::from_millis(200);
        while start.elapsed() < within {
            if self.lab.matrix(quick).unwrap().all_answered() {
                return;
            }
        }
        self.assert_all_answer_at_once();
    }

    /// The remote client is answered by an address, in a while.
    #[track_caller]
    pub fn assert_answers(&self, address: &str) {
        let took = until_answered(self.remote(), address.parse().unwrap(), SOON).unwrap();
        assert!(took.is_some(), "{address} does not answer\n{}", self.dump());
    }

    /// Answers at all addresses of the remote client.
    pub fn let_remote_answer(&self) -> Answerer {
        let client = &self.lab.clients()[0];
        Answerer::start(&client.netns, client.addresses.clone()).unwrap()
    }

    /// What becomes of a packet that the host sends to the remote client.
    pub fn host_asks(&self, from: &str) -> Answer {
        let from: IpAddr = from.parse().unwrap();
        let to = self.lab.clients()[0].addresses.iter().find(|a| a.is_ipv4() == from.is_ipv4());
        let timeout = Duration::from_millis(300);
        let question = Ask { from: Some(from), ..Ask::new(Proto::Udp, *to.unwrap(), timeout) };
        ask(self.host(), &question).unwrap()
    }

    /// What the host sends from an address is refused on the spot, and nothing of it ever
    /// leaves by another card.
    #[track_caller]
    pub fn assert_refused(&self, from: &str, within: Duration) {
        let mut answer = Answer::Silent;
        let start = Instant::now();
        while start.elapsed() < within {
            answer = self.host_asks(from);
            if answer == UNREACHABLE {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{from} is not refused within {within:?}: {answer}\n{}", self.dump());
    }

    /// What the fabric has dropped as spoofed: packets that left by the wrong card.
    pub fn strayed(&self) -> u64 {
        self.lab.fabric().dropped().unwrap()
    }

    /// The number of a card: `10000 + ifindex`.
    pub fn number(&self, card: &str) -> u32 {
        10_000 + self.host().index(card).unwrap()
    }
}

/// `EHOSTUNREACH`.
pub const UNREACHABLE: Answer = Answer::Refused(113);

// ===== impl World: programs in the host =====

impl World {
    /// Runs a program in the host.
    pub fn output(&self, command: &mut Command, input: &str) -> Said {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.host().spawn(command).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = thread::scope(|scope| {
            scope.spawn(move || {
                // A program that does not read to the end is no failure of ours.
                let _ = stdin.write_all(input.as_bytes());
            });
            child.wait_with_output().unwrap()
        });
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs `ip`, which must not fail.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        let said = self.output(Command::new("ip").args(words(arguments)), "");
        assert!(said.code == Some(0), "ip {arguments}: {}", said.err);
        said.out
    }

    /// Runs `ip`, one command a line, each of which may fail.
    pub fn try_ip(&self, commands: &str) {
        for line in commands.lines() {
            self.output(Command::new("ip").args(words(line)), "");
        }
    }

    /// Runs `ip`, one command a line, none of which may fail.
    #[track_caller]
    pub fn ips(&self, commands: &str) {
        for line in commands.lines().filter(|l| !l.trim().is_empty()) {
            self.ip(line);
        }
    }

    /// What `ip -json` says, numbers as numbers. A table that was never used is an empty one.
    #[track_caller]
    pub fn json(&self, arguments: &str) -> Vec<Value> {
        let said = self.output(Command::new("ip").args(["-N", "-json"]).args(words(arguments)), "");
        let is_absent = said.err.contains("table does not exist");
        assert!(said.code == Some(0) || is_absent, "ip {arguments}: {}", said.err);
        if is_absent || said.out.trim().is_empty() {
            return Vec::new();
        }
        serde_json::from_str(&said.out).unwrap()
    }

    /// Many `ip` commands by one process, which goes on after failures.
    #[track_caller]
    pub fn batch(&self, commands: &str) {
        let commands = format!("{commands}\nlink show lo\n");
        let said = self.output(Command::new("ip").args(["-force", "-batch", "-"]), &commands);
        // A word that it does not understand ends it, whatever it was told.
        assert!(said.out.contains("LOOPBACK"), "{}", tail(&said.err, 3));
    }

    /// The program under test in the host.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(program());
        command.args(words(arguments));
        command
    }

    /// Runs the program under test.
    pub fn multihome(&self, arguments: &str) -> Said {
        self.output(&mut self.command(arguments), "")
    }

    /// Runs the program under test, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn must(&self, arguments: &str) -> String {
        let said = self.multihome(arguments);
        assert!(said.code == Some(0), "multihome {arguments}: {said:#?}\n{}", self.dump());
        said.out
    }

    /// Nothing is left to be done, now or in a while.
    #[track_caller]
    pub fn assert_in_sync(&self, within: Duration) {
        let start = Instant::now();
        loop {
            let said = self.multihome("plan --detailed-exitcode");
            if said.code == Some(0) {
                return;
            }
            assert!(start.elapsed() < within, "{said:#?}\n{}", self.dump());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts `multihome run` and waits until it says that it is ready.
    #[track_caller]
    pub fn run(&self) -> Daemon {
        self.run_with("run", &[])
    }

    /// As [`World::run`], with arguments and variables.
    #[track_caller]
    pub fn run_with(&self, arguments: &str, variables: &[(&str, &str)]) -> Daemon {
        let daemon = Daemon::start(self, arguments, variables);
        assert!(daemon.sees("READY=1", SOON), "not ready: {}", daemon.log());
        daemon
    }

    /// All that there is to see, for a failure's message.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for arguments in
            ["address", "-4 rule", "-6 rule", "-4 route show table all", "-6 route show table all"]
        {
            let said = self.output(Command::new("ip").args(words(arguments)), "");
            let lines = said.out.lines().filter(|l| !l.contains("table local"));
            text.extend([format!("$ ip {arguments}\n")]);
            text.extend(lines.map(|l| format!("{l}\n")));
        }
        text
    }
}

// ===== impl Daemon =====

impl Daemon {
    /// Starts it and does not wait.
    pub fn start(world: &World, arguments: &str, variables: &[(&str, &str)]) -> Daemon {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = format!("/run/notify-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut command = world.command(arguments);
        command.env("NOTIFY_SOCKET", &path).envs(variables.iter().copied());
        let program = Program::start(world.host(), command);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&notices);
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok(len) = socket.recv(&mut packet) {
                let text = String::from_utf8_lossy(&packet[..len]);
                let mut notices = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                notices.extend(text.lines().map(str::to_owned));
            }
        });
        Daemon { program, notices }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Waits until it has said something.
    #[track_caller]
    pub fn says(&self, words: &str) {
        self.program.says(words, SOON);
    }

    /// Waits for a line by which it tells systemd something; each is seen once.
    pub fn sees(&self, line: &str, within: Duration) -> bool {
        let start = Instant::now();
        loop {
            let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = notices.iter().position(|n| n.starts_with(line)) {
                notices.drain(..=at);
                return true;
            }
            drop(notices);
            if start.elapsed() > within {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal);
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.program.is_alive()
    }

    /// Sends it a signal, waits for its end, and returns its exit code and what it said.
    pub fn stop(self, signal: Signal) -> (Option<i32>, String) {
        let (status, log) = self.program.stop(signal);
        (status.code(), log)
    }
}

// ===== helpers =====

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What becomes of a question from a namespace to an address's port.
pub fn ask_from(client: &Netns, from: Option<IpAddr>, to: IpAddr) -> Answer {
    let to = SocketAddr::new(to, multihome_lab::traffic::PORT);
    ask(client, &Ask { proto: Proto::Udp, from, to, timeout: TIMEOUT }).unwrap()
}

/// The words of a command line: no word of ours has a space in it.
pub fn words(line: &str) -> std::str::SplitWhitespace<'_> {
    line.split_whitespace()
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
