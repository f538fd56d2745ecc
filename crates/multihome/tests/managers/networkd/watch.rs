//! What happens to the kernel's objects and to the answers of the host, each with its time.
//!
//! `ip monitor` stamps its lines, and whoever asks stamps its probes, by the same clock: so it
//! can be said how long after its last deletion an address answered again.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use multihome_lab::Netns;
use multihome_lab::traffic::PORT;

use crate::common::program::Program;
use crate::machine::{Machine, PATIENCE};
use crate::state::PROTOCOL;
use crate::world::eventually;

/// `ip monitor` in the host, until it is dropped.
pub struct Monitor {
    program: Program,
}

/// A line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, since midnight.
    pub at: Duration,
    /// What was deleted, or made, or changed.
    pub is_deletion: bool,
    /// What kind of object: `RULE`, `ROUTE`, `ADDR`, `LINK`.
    pub kind: String,
    /// The object, as `ip` prints it.
    pub object: String,
}

/// Clients that ask addresses without pause, until they are stopped.
pub struct Askers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Answers>>,
}

/// What came of asking an address.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Which one.
    pub address: IpAddr,
    questions: Vec<Question>,
}

/// When it was sent, and when it was answered.
#[derive(Debug, Clone, Copy)]
struct Question {
    sent: Duration,
    answered: Option<Duration>,
}

/// The time between two questions.
const INTERVAL: Duration = Duration::from_millis(5);
/// An answer that takes longer is none.
const LATE: Duration = Duration::from_millis(400);
const DAY: Duration = Duration::from_secs(86_400);

// ===== impl Monitor =====

impl Monitor {
    /// Starts it, and waits until it sees what happens.
    #[track_caller]
    pub fn start(machine: &Machine) -> Monitor {
        let line = "ip -ts -o -N monitor label link address route rule";
        let program = machine.start_with(line, &[("TZ", "UTC")]);
        let monitor = Monitor { program };
        eventually("ip monitor sees what happens", PATIENCE, || {
            machine.try_ip("rule add pref 1 from 192.0.2.1 lookup 1 protocol 200");
            machine.try_ip("rule delete pref 1 from 192.0.2.1 lookup 1 protocol 200");
            thread::sleep(Duration::from_millis(10));
            monitor.program.log().contains("Deleted 1:")
        });
        monitor
    }

    /// What it has seen so far.
    pub fn events(&self) -> Vec<Event> {
        self.program.log().lines().filter_map(Event::parse).collect()
    }

    /// Waits until nothing has happened to anything of ours, and to no address, for a while, which
    /// begins now.
    #[track_caller]
    pub fn calm(&self, quiet: Duration, within: Duration) {
        let start = Instant::now();
        loop {
            let events = self.events();
            let last = events.iter().rfind(|e| e.is_ours() || e.kind == "ADDR");
            if start.elapsed() > quiet && last.is_none_or(|e| since(e.at, now()) > quiet) {
                return;
            }
            let recent: String = events.iter().rev().take(40).map(|e| format!("{e:?}\n")).collect();
            assert!(
                start.elapsed() < within,
                "no calm within {within:?}; last, backwards:\n{recent}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

// ===== impl Event =====

impl Event {
    /// `[2026-11-22T01:15:31.234155] [RULE]Deleted 9: from 192.0.2.1 lookup 99 proto 177`.
    fn parse(line: &str) -> Option<Event> {
        let (stamp, rest) = line.strip_prefix('[')?.split_once("] [")?;
        let (_, time) = stamp.split_once('T')?;
        let mut parts = time.split(':');
        let mut next = || parts.next()?.parse::<f64>().ok();
        let (hours, minutes, seconds) = (next()?, next()?, next()?);
        let (kind, object) = rest.split_once(']')?;
        let (is_deletion, object) =
            object.strip_prefix("Deleted ").map_or((false, object), |object| (true, object));
        Some(Event {
            at: Duration::from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds),
            is_deletion,
            kind: kind.to_owned(),
            object: object.to_owned(),
        })
    }

    /// Whether it is a rule or a route of multihome's.
    pub fn is_ours(&self) -> bool {
        let mut words = self.object.split_whitespace();
        words.any(|w| w == "proto") && words.next() == Some(PROTOCOL)
    }

    /// Whether it is somebody else's default route.
    pub fn is_foreign_default(&self) -> bool {
        self.kind == "ROUTE" && !self.is_ours() && self.object.starts_with("default")
    }
}

// ===== impl Askers =====

impl Askers {
    /// Starts asking each of some addresses, from a namespace.
    pub fn start(client: &Arc<Netns>, addresses: &[IpAddr]) -> Askers {
        let stop = Arc::new(AtomicBool::new(false));
        let ask = |address: &IpAddr| {
            let (client, stop, address) = (Arc::clone(client), Arc::clone(&stop), *address);
            thread::spawn(move || {
                client.enter().unwrap();
                Answers::gather(address, &stop)
            })
        };
        let threads = addresses.iter().map(ask).collect();
        Askers { stop, threads }
    }

    /// Stops them.
    pub fn stop(mut self) -> Vec<Answers> {
        self.stop.store(true, Ordering::Release);
        let join = |t: JoinHandle<_>| t.join().unwrap();
        self.threads.drain(..).map(join).collect()
    }
}

impl Drop for Askers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

// ===== impl Answers =====

impl Answers {
    fn gather(address: IpAddr, stop: &AtomicBool) -> Answers {
        let any: IpAddr = match address {
            IpAddr::V4(_) => [0; 4].into(),
            IpAddr::V6(_) => [0; 16].into(),
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect(SocketAddr::new(address, PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut questions: Vec<Question> = Vec::new();
        let listen = |questions: &mut [Question]| {
            let mut echo = [0; 16];
            // An error stands for an ICMP message and is cleared by reading it.
            for _ in 0..64 {
                match socket.recv(&mut echo) {
                    Ok(8) => {
                        let number = u64::from_ne_bytes(echo[..8].try_into().unwrap());
                        let number = usize::try_from(number).unwrap_or(usize::MAX);
                        if let Some(question) = questions.get_mut(number)
                            && since(question.sent, now()) < LATE
                        {
                            question.answered = Some(now());
                        }
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
        };
        while !stop.load(Ordering::Acquire) {
            let number = u64::try_from(questions.len()).unwrap();
            questions.push(Question { sent: now(), answered: None });
            let _ = socket.send(&number.to_ne_bytes());
            thread::sleep(INTERVAL);
            listen(&mut questions);
        }
        let end = Instant::now();
        while end.elapsed() < LATE {
            thread::sleep(INTERVAL);
            listen(&mut questions);
        }
        Answers { address, questions }
    }

    /// How many questions had no answer.
    pub fn lost(&self) -> usize {
        self.questions.iter().filter(|q| q.answered.is_none()).count()
    }

    /// When the first answer came after which there were no questions without one; none when the
    /// last had none.
    pub fn answered_from(&self) -> Option<Duration> {
        let last_lost = self.questions.iter().rposition(|q| q.answered.is_none());
        let first = last_lost.map_or(0, |at| at + 1);
        self.questions.get(first)?.answered
    }

    /// The longest time in which no question was answered.
    pub fn longest_silence(&self) -> Duration {
        let time = |lost: &[Question]| match lost {
            [first, .., last] => since(first.sent, last.sent) + INTERVAL,
            [_] => INTERVAL,
            [] => Duration::ZERO,
        };
        let lost = self.questions.split(|q| q.answered.is_some());
        lost.map(time).max().unwrap_or_default()
    }
}

// ===== helpers =====

/// The time of the day, in UTC.
pub fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_secs(since.as_secs() % DAY.as_secs())
        + Duration::from_nanos(since.subsec_nanos().into())
}

/// From one time of the day to another; nothing when that is the earlier one.
pub fn since(earlier: Duration, later: Duration) -> Duration {
    let half = DAY / 2;
    match later.checked_sub(earlier) {
        Some(time) if time < half => time,
        Some(_) => Duration::ZERO, // it was yesterday, and "earlier" is after midnight
        None if earlier - later > half => later + DAY - earlier, // midnight was in between
        None => Duration::ZERO,
    }
}
