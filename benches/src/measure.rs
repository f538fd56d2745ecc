//! Timing, medians and tables.
//!
//! A processor that is shared changes its speed by half from one minute to the next, so
//! nothing is compared across runs: what is measured and what it is measured by take turns,
//! a few hundred microseconds each, and the quotient of each turn counts.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Whatever went wrong is for the reader of the terminal.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PAYLOAD: [u8; 18] = [0; 18];
/// Sends of the unit in one turn.
const UNITS: u32 = 200;
/// How long one turn of what is measured takes.
const TURN: Duration = Duration::from_micros(300);

/// What is sent in a measurement.
pub enum Sending<'a> {
    /// By an unconnected socket, with a look-up each time.
    To(&'a UdpSocket, SocketAddr),
    /// By a connected one.
    Connected(&'a UdpSocket),
}

/// Time of one send in units of a connected send, and that unit in nanoseconds.
pub fn ratio(what: &Sending<'_>, unit: &UdpSocket, time: Duration) -> Outcome<(f64, f64)> {
    let once = |n: u32| -> std::io::Result<Duration> {
        let start = Instant::now();
        for _ in 0..n {
            match what {
                Sending::To(socket, to) => socket.send_to(&PAYLOAD, to)?,
                Sending::Connected(socket) => socket.send(&PAYLOAD)?,
            };
        }
        Ok(start.elapsed())
    };
    once(2)?;
    let single = once(8)? / 8;
    let turn = (TURN.as_nanos() / single.as_nanos().max(1)).clamp(2, 500);
    let turn = u32::try_from(turn)?;
    let (mut ratios, mut units) = (Vec::new(), Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end || ratios.len() < 5 {
        let each = once(turn)?.as_secs_f64() / f64::from(turn);
        let start = Instant::now();
        for _ in 0..UNITS {
            unit.send(&PAYLOAD)?;
        }
        let by = start.elapsed().as_secs_f64() / f64::from(UNITS);
        ratios.push(each / by);
        units.push(by * 1e9);
    }
    Ok((median(&mut ratios), median(&mut units)))
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    percentile(values, 50)
}

/// The value that so many in a hundred do not exceed.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Keeps the program on one processor, so that a veth pair's other end is served by it too.
pub fn pin(cpu: usize) -> Outcome<()> {
    let cpus = std::thread::available_parallelism()?.get();
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu % cpus);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// A table of markdown.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with a heading.
    pub fn new(heading: &[&str]) -> Table {
        Table { rows: vec![heading.iter().map(|&s| s.to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints it.
    pub fn print(&self) {
        let columns = self.rows[0].len();
        let width = |c: usize| {
            self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(s, w)| format!("{s:<w$}")).collect();
            println!("| {} |", cells.join(" | "));
            if at == 0 {
                let rule: Vec<String> = widths.iter().map(|w| "-".repeat(*w)).collect();
                println!("| {} |", rule.join(" | "));
            }
        }
        println!();
    }
}
