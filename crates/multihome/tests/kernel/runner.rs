//! Runs each test as a process of its own, with a time limit.
//!
//! The process enters its namespaces before it has any thread ([`multihome_lab::enter`]), so
//! it is this very program, started once more. It leads a process group, which is what is
//! killed when its time is up: a daemon that it has started goes with it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use rustix::process::{Pid, Signal, kill_process_group};

/// One test.
pub struct Test {
    /// The module that it is in.
    pub module: &'static str,
    /// Its function's name.
    pub name: &'static str,
    /// What it does; it fails by a panic.
    pub run: fn(),
    /// Whether root runs it once more as an ordinary user.
    pub also_as_user: bool,
}

/// Lists the tests of a module: `tests![one, two + user]` runs `two` as an ordinary user, too.
macro_rules! tests {
    (@as) => { false };
    (@as user) => { true };
    ($($name:ident $(+ $user:ident)?),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] = &[$(crate::runner::Test {
            module: module_path!(),
            name: stringify!($name),
            run: $name,
            also_as_user: crate::runner::tests!(@as $($user)?),
        }),*];
    };
}
pub(crate) use tests;

/// The flag that says: run this test here.
const HERE: &str = "--in-namespaces";
/// Where the program under test is, if not where cargo built it.
const PROGRAM: &str = "MULTIHOME_PROGRAM";
/// No test takes nearly as long.
const LIMIT: Duration = Duration::from_secs(90);
/// Most tests wait more than they compute.
const AT_ONCE: usize = 4;
/// `nobody`.
const USER: &str = "65534";

/// The tests as `cargo test` knows them.
pub fn main(modules: &'static [&'static [Test]]) -> ExitCode {
    let all = || modules.iter().copied().flatten();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == HERE
    {
        let test = all().find(|t| t.full_name() == *name).expect("a test of that name");
        enter();
        (test.run)();
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let as_root = rustix::process::geteuid().is_root();
    let mut trials = Vec::new();
    for test in all() {
        trials.push(Trial::test(test.full_name(), || start(test, false)));
        if as_root && test.also_as_user {
            let name = format!("{}::as_user", test.full_name());
            trials.push(Trial::test(name, || start(test, true)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(Ok(copies)) = COPIES.get() {
        let _ = fs::remove_dir_all(copies);
    }
    conclusion.exit_code()
}

/// The program under test.
pub fn program() -> PathBuf {
    env::var_os(PROGRAM)
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_multihome")), PathBuf::from)
}

impl Test {
    fn full_name(&self) -> String {
        let module = self.module.split_once("::").map_or(self.module, |(_, module)| module);
        format!("{module}::{}", self.name)
    }
}

// ===== in the test's own process =====

/// Leaves the machine behind: its network, its `/run`, and its `/etc`, where configuration and
/// the names of tables are.
fn enter() {
    multihome_lab::enter().expect("namespaces");
    multihome_lab::assert_own_namespace().expect("a network namespace of its own");
    let none: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/etc", Some("tmpfs"), flags, none).expect("an /etc of its own");
}

// ===== in the process that cargo started =====

fn start(test: &Test, as_user: bool) -> Result<(), Failed> {
    let name = test.full_name();
    let mut command = if as_user {
        let copies = COPIES.get_or_init(copies).as_ref().map_err(|e| Failed::from(e.clone()))?;
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={USER}"), format!("--regid={USER}")])
            .arg("--clear-groups")
            .arg(copies.join("tests"))
            .env(PROGRAM, copies.join("multihome"));
        command
    } else {
        Command::new("/proc/self/exe")
    };
    for variable in ["NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "JOURNAL_STREAM", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.args([HERE, &name]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let mut readers = Vec::new();
    let streams: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as _),
        child.stderr.take().map(|s| Box::new(s) as _),
    ];
    for mut stream in streams.into_iter().flatten() {
        readers.push(thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
    }
    let outcome = wait(&mut child);
    let said: String = readers.into_iter().map(|r| r.join().unwrap_or_default()).collect();
    outcome.map_err(|e| Failed::from(format!("{e}\n{said}")))
}

fn wait(child: &mut Child) -> Result<(), String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if start.elapsed() > LIMIT => {
                // Not reaped yet, so the number is still this group's.
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let killed = group.map(|g| kill_process_group(g, Signal::KILL));
                let _ = child.wait();
                return Err(format!("killed after {LIMIT:?} ({killed:?})"));
            }
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Err(e) => return Err(e.to_string()),
        }
    }
}

static COPIES: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Copies of both programs where every user may start them: the way to where cargo built them
/// may be closed to others.
fn copies() -> Result<PathBuf, String> {
    let dir = env::temp_dir().join(format!("multihome-tests-{}", std::process::id()));
    let copy = |from: &Path, to: &str| fs::copy(from, dir.join(to)).map(drop);
    let made = fs::create_dir(&dir)
        .and_then(|()| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&dir, mode)
        })
        .and_then(|()| copy(&env::current_exe()?, "tests"))
        .and_then(|()| copy(&program(), "multihome"));
    match made {
        Ok(()) => Ok(dir),
        Err(e) => Err(format!("{}: {e}", dir.display())),
    }
}
