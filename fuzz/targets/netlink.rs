//! Any bytes as what the kernel sends: each message is an object or an error, never a panic;
//! what was decoded can be followed, planned for and sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use multihome_core::diff::diff;
use multihome_core::model::snapshot::{Event, Snapshot};
use multihome_core::{Config, Memory, plan};
use multihome_kernel::wire::{Attrs, Messages, Received};
use multihome_kernel::{address, label, link, neighbour, nexthop, nft, route, rule};

fuzz_target!(|datagram: &[u8]| {
    for attr in Attrs::new(datagram) {
        let _ = attr;
    }
    let mut snapshot = Snapshot::default();
    for message in Messages::new(datagram).map_while(Result::ok) {
        // Every decoder sees every payload; which one its number asks for gets the event.
        let _ = address::decode(message.payload);
        let _ = label::decode(message.payload);
        let _ = link::decode(message.payload);
        let _ = link::decode_deleted(message.payload);
        let _ = neighbour::decode(message.payload);
        let _ = nexthop::decode(message.payload);
        let _ = nexthop::decode_deleted(message.payload);
        nft::fuzz::decode(message.payload);
        let _ = route::decode(message.payload);
        let _ = rule::decode(message.payload);
        if let Some(event) = event(&message, &snapshot) {
            let _ = snapshot.apply(event);
        }
    }
    let plan = plan::make(&snapshot, &Config::default(), &Memory::default());
    for change in diff(&snapshot, &plan) {
        let _ = change.command(&snapshot.names());
    }
});

/// The event that a message stands for, by `RTM_` number; its object is encoded again on the
/// way.
fn event(message: &Received<'_>, snapshot: &Snapshot) -> Option<Event> {
    let payload = message.payload;
    Some(match message.kind {
        16 => Event::NewLink(link::decode(payload).ok()??),
        17 => Event::DelLink(link::decode_deleted(payload).ok()??),
        20 | 21 => {
            let object = address::decode(payload).ok()??;
            let _ = (address::add(&object), address::replace(&object), address::delete(&object));
            if message.kind == 20 { Event::NewAddress(object) } else { Event::DelAddress(object) }
        }
        24 | 25 => {
            let mut object = route::decode(payload).ok()??;
            let _ = route::resolve(&mut object, |id| snapshot.nexthop(id));
            let _ = (route::add(&object), route::replace(&object), route::delete(&object));
            let (replace, append) = (message.flags & 0x100 != 0, message.flags & 0x800 != 0);
            if message.kind == 24 {
                Event::NewRoute { route: object, replace, append }
            } else {
                Event::DelRoute(object)
            }
        }
        32 | 33 => {
            let object = rule::decode(payload).ok()??;
            let _ = (rule::add(&object, true), rule::delete(&object));
            if message.kind == 32 { Event::NewRule(object) } else { Event::DelRule(object) }
        }
        104 => {
            let object = nexthop::decode(payload).ok()?;
            let _ = nexthop::add(&object, 177);
            Event::NewNexthop(object)
        }
        105 => Event::DelNexthop(nexthop::decode_deleted(payload).ok()?),
        _ => return None,
    })
}
