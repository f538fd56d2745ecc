//! `multihome explain`: it changes nothing and needs no privileges.

use std::path::Path;

use multihome_core::explain::explain as explain_flow;
use multihome_core::{Flow, Lookup, Snapshot};
use multihome_kernel::Kernel;

use super::read::{Seen, look_at_all};
use crate::cli::ExplainArgs;
use crate::config_files;
use crate::error::{Failure, PENDING};
use crate::output::{self, Style};
use crate::words::explain::{Asked, Report, Word};

/// Explains what becomes of one packet.
pub fn explain(named: Option<&Path>, args: &ExplainArgs) -> Result<u8, Failure> {
    let config = config_files::read(named)?;
    let (Seen { snapshot, plan, changes }, _) = look_at_all(&config, &args.reading)?;
    let flow = flow(args, &snapshot)?;
    let lookup = Lookup::new(&snapshot);
    let said = explain_flow(&lookup, &config, &plan, &changes, &flow);
    let kernel = match args.reading.snapshot {
        Some(_) => None,
        None => ask(&lookup, &flow),
    };
    let report = Report::new(&said, &snapshot, kernel);
    if args.reading.json {
        output::json(&report)?;
    } else {
        output::text(&report.text(Style::stdout()))?;
    }
    let disagrees = report.kernel.as_ref().is_some_and(|k| !k.agrees);
    Ok(match report.verdict {
        Word::Wrong | Word::CannotTell => PENDING,
        _ if disagrees => PENDING,
        Word::Right | Word::Accepted | Word::NoPromise => 0,
    })
}

/// What the kernel says to the question as it can be asked ([`Flow::as_asked`]), beside what is
/// said to that here; none where it cannot be asked.
fn ask(lookup: &Lookup<'_>, flow: &Flow) -> Option<Asked> {
    let asked = flow.as_asked();
    match Kernel::open().and_then(|mut kernel| kernel.route_get(&asked)) {
        Ok(told) => {
            let answer = lookup.ask(&asked);
            let agrees = answer.outcomes.iter().any(|o| o.told(&asked).is(&told));
            Some(Asked { agrees, says: told.display(&lookup.snapshot().names()) })
        }
        Err(e) => {
            log::warn!("the kernel could not be asked: {e}");
            None
        }
    }
}

fn flow(args: &ExplainArgs, snapshot: &Snapshot) -> Result<Flow, Failure> {
    let link = |option: &'static str, name: &Option<String>| match name {
        None => Ok(None),
        Some(name) => match snapshot.link_named(name) {
            Some(link) => Ok(Some(link.index)),
            None => Err(Failure::Question {
                what: format!("{option} {name}: this host has no such interface"),
                remedy: "`ip link` lists those that it has".into(),
            }),
        },
    };
    let (from, to) = (args.from, args.to);
    if let Some(from) = from
        && from.is_ipv4() != to.is_ipv4()
    {
        return Err(Failure::Question {
            what: format!("{from} and {to} are of different families"),
            remedy: "a packet is of one: ask with two IPv4 or two IPv6 addresses".into(),
        });
    }
    let iif = link("--iif", &args.iif)?;
    let oif = link("--oif", &args.oif)?;
    Ok(Flow {
        from,
        iif,
        oif,
        bound: oif.is_some(),
        mark: args.mark,
        proto: args.proto.unwrap_or(0),
        sport: args.sport.unwrap_or(0),
        dport: args.dport.unwrap_or(0),
        uid: args.uid,
        tos: args.tos,
        ..Flow::to(to)
    })
}
