//! Runs each test as a process of its own, with a time limit.
//!
//! The process enters its namespaces before it has any thread ([`multihome_lab::enter`]), so
//! it is this very program, started once more. It leads a process group, which is what is
//! killed when its time is up: a daemon that it has started goes with it. Where daemons are about
//! that leave their group, the test has a process namespace of its own as well, which ends with
//! it.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group};

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
    /// The one tree that it is for, if not for all.
    pub only_on: Option<&'static str>,
}

/// Where a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// As whoever started the program.
    Here,
    /// As an ordinary user, started by root.
    User,
    /// In a tree of a distribution, with processes of its own, as root.
    Tree(&'static str),
}

/// A family of tests, and where they run.
#[derive(Clone, Copy)]
pub struct Suite {
    /// The tests of its modules.
    pub modules: &'static [&'static [Test]],
    /// Where a test runs, when root starts it or not.
    pub places: fn(&Test, bool) -> Vec<Place>,
    /// Leaves the machine behind, in a process with one thread.
    pub enter: fn(Place),
}

/// Lists the tests of a module: `tests![one, two + user]` runs `two` as an ordinary user, too;
/// `tests![one, two on trixie]` runs `two` on one tree only.
macro_rules! tests {
    (@user) => { false };
    (@user user) => { true };
    (@tree) => { None };
    (@tree $tree:ident) => { Some(stringify!($tree)) };
    ($($name:ident $(+ $user:ident)? $(on $tree:ident)?),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] = &[$(crate::runner::Test {
            module: module_path!(),
            name: stringify!($name),
            run: $name,
            also_as_user: crate::runner::tests!(@user $($user)?),
            only_on: crate::runner::tests!(@tree $($tree)?),
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
pub fn main(suite: Suite) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, trial] = arguments.as_slice()
        && flag == HERE
    {
        return in_namespaces(suite, trial);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let shown = arguments.nocapture;
    let mut trials = Vec::new();
    each(suite, |name, test, place| {
        trials.push(Trial::test(name.clone(), move || start(&name, test, place, shown)));
    });
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(Ok(copies)) = COPIES.get() {
        let _ = fs::remove_dir_all(copies);
    }
    conclusion.exit_code()
}

fn each(suite: Suite, mut f: impl FnMut(String, &'static Test, Place)) {
    let as_root = rustix::process::geteuid().is_root();
    for test in suite.modules.iter().copied().flatten() {
        for place in (suite.places)(test, as_root) {
            f(format!("{}{}", test.full_name(), place.suffix()), test, place);
        }
    }
}

/// The program under test, as the test's process sees it.
pub fn program() -> PathBuf {
    if let Some(moved) = MOVED.get() {
        return moved.clone();
    }
    env::var_os(PROGRAM)
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_multihome")), PathBuf::from)
}

/// Says where the program under test is for this process from now on.
pub fn program_is_at(path: &str) {
    let _ = MOVED.set(PathBuf::from(path));
}

impl Test {
    fn full_name(&self) -> String {
        let module = self.module.split_once("::").map_or(self.module, |(_, module)| module);
        format!("{module}::{}", self.name)
    }
}

impl Place {
    fn suffix(self) -> String {
        match self {
            Place::Here => String::new(),
            Place::User => "::as_user".to_owned(),
            Place::Tree(tree) => format!("::{tree}"),
        }
    }
}

// ===== in the test's own process =====

fn in_namespaces(suite: Suite, trial: &str) -> ExitCode {
    let mut found = None;
    each(suite, |name, test, place| {
        if name == trial {
            found = Some((test, place));
        }
    });
    // An ordinary user's trial is known to root only.
    let plain = trial.trim_end_matches("::as_user");
    let all = || suite.modules.iter().copied().flatten();
    let found = found.or_else(|| Some((all().find(|t| t.full_name() == plain)?, Place::User)));
    let (test, place) = found.expect("a trial of that name");
    if std::process::id() == 1 {
        return first_process(trial);
    }
    (suite.enter)(place);
    (test.run)();
    ExitCode::SUCCESS
}

/// The first process of a namespace buries the dead, also those of others: who asks whether a
/// daemon is gone would see it for ever otherwise. When it ends, all others do.
#[allow(clippy::zombie_processes)] // it is waited for with all the others
fn first_process(trial: &str) -> ExitCode {
    let own = env::current_exe().expect("own path");
    let test = Command::new(own).args([HERE, trial]).spawn().expect("own program");
    loop {
        let ended = rustix::process::wait(WaitOptions::empty());
        if let Ok(Some((pid, status))) = ended
            && u32::try_from(pid.as_raw_nonzero().get()) == Ok(test.id())
        {
            let passed = status.exit_status() == Some(0);
            return if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
}

// ===== in the process that cargo started =====

/// Runs a trial; with `shown` also what a passed one has said is printed.
fn start(trial: &str, test: &Test, place: Place, shown: bool) -> Result<(), Failed> {
    let begun = Instant::now();
    let cgroup = Cgroup::new(place);
    let mut command = match place {
        Place::Here => Command::new("/proc/self/exe"),
        Place::User => {
            let copies = COPIES.get_or_init(copies);
            let copies = copies.as_ref().map_err(|e| Failed::from(e.clone()))?;
            let mut command = Command::new("setpriv");
            command
                .args([format!("--reuid={USER}"), format!("--regid={USER}")])
                .arg("--clear-groups")
                .arg(copies.join("tests"))
                .env(PROGRAM, copies.join("multihome"));
            command
        }
        Place::Tree(_) => {
            if !rustix::process::geteuid().is_root() {
                let name = test.full_name();
                return Err(format!("{name} starts system daemons: run it as root (sudo)").into());
            }
            // Rights that are not of one network namespace are given up, and the variables of
            // whoever started this are not the tree's.
            let kept = |name: &str| Some((name.to_owned(), env::var_os(name)?));
            let kept =
                ["RUST_BACKTRACE", "MULTIHOME_TREES", "MULTIHOME_ALL"].into_iter().filter_map(kept);
            let enter = "test -z \"$0\" || echo $$ > \"$0/cgroup.procs\"; exec setpriv \
                --bounding-set=-sys_time,-sys_module,-sys_boot,-sys_rawio unshare --pid --uts \
                --ipc --cgroup --fork --kill-child --mount-proc \"$@\"";
            let mut command = Command::new("sh");
            command
                .args(["-c", enter])
                .arg(cgroup.path())
                .arg(env::current_exe().map_err(|e| e.to_string())?)
                .env_clear()
                .env("PATH", "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
                .envs(kept)
                .env(PROGRAM, program());
            command
        }
    };
    for variable in ["NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "JOURNAL_STREAM", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command.args([HERE, trial]).process_group(0);
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
    drop(cgroup);
    let said: String = readers.into_iter().map(|r| r.join().unwrap_or_default()).collect();
    if matches!(place, Place::Tree(_)) {
        eprintln!("{trial} took {:.1} s", begun.elapsed().as_secs_f64());
    }
    if shown && outcome.is_ok() {
        eprint!("{said}");
    }
    outcome.map_err(|e| Failed::from(format!("{e}\n{said}")))
}

/// A control group for the processes of a test in a tree, where the machine has such groups.
struct Cgroup(Option<PathBuf>);

impl Cgroup {
    fn new(place: Place) -> Cgroup {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !matches!(place, Place::Tree(_)) {
            return Cgroup(None);
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let unified = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let dir = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(dir))
        });
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = unified.map(|u| u.join(format!("multihome-{}-{count}", std::process::id())));
        Cgroup(dir.filter(|d| fs::create_dir(d).is_ok()))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let Some(dir) = &self.0 else { return };
        let _ = fs::write(dir.join("cgroup.kill"), "1");
        // Groups of processes that are still dying cannot be removed.
        for _ in 0..200 {
            if remove_groups(dir).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn remove_groups(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
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

static MOVED: OnceLock<PathBuf> = OnceLock::new();
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
