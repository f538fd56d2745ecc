//! DHCPv6 (RFC 8415), the server's side: one address, for whoever asks.

use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode,
};
use dhcproto::{Decodable as _, Encodable as _};

use crate::server::{Conduct, Lease6, State};

/// A DUID by link-layer address, of nobody.
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 5, 47];

/// The answer to a packet.
pub fn answer(state: &mut State, packet: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_bytes(packet).ok()?;
    if state.conduct == Conduct::Silent {
        return None;
    }
    let kind = match request.msg_type() {
        MessageType::Solicit => MessageType::Advertise,
        MessageType::Request
        | MessageType::Renew
        | MessageType::Rebind
        | MessageType::Confirm
        | MessageType::Release
        | MessageType::Decline
        | MessageType::InformationRequest => MessageType::Reply,
        _ => return None,
    };
    if matches!(request.opts().get(OptionCode::ServerId),
        Some(DhcpOption::ServerId(id)) if id.as_slice() != SERVER)
    {
        return None;
    }
    let mut reply = Message::new_with_id(kind, request.xid());
    let options = reply.opts_mut();
    options.insert(DhcpOption::ServerId(SERVER.to_vec()));
    if let Some(client) = request.opts().get(OptionCode::ClientId) {
        options.insert(client.clone());
    }
    // Nobody needs to wait for a better server.
    options.insert(DhcpOption::Preference(255));
    let lease = state.lease6.clone();
    let is_refused = state.conduct == Conduct::Refuses;
    match request.msg_type() {
        MessageType::Release | MessageType::Decline => {
            options.insert(status(Status::Success));
            state.said.push("release6".to_owned());
        }
        MessageType::Confirm => {
            let is_right = !is_refused && asked(&request).all(|(_, a)| a == lease.address);
            options.insert(status(if is_right { Status::Success } else { Status::NotOnLink }));
        }
        MessageType::InformationRequest => {}
        _ => {
            for option in request.opts().iter() {
                if let DhcpOption::IANA(association) = option {
                    let given = give(association, &lease, is_refused);
                    options.insert(DhcpOption::IANA(given));
                }
            }
            let word = if kind == MessageType::Advertise { "advertise" } else { "reply" };
            state.said.push(match is_refused {
                true => "refuse6".to_owned(),
                false => format!("{word} {}", lease.address),
            });
        }
    }
    reply.to_vec().ok()
}

/// The address for an association, and an end to all others that it has.
fn give(association: &IANA, lease: &Lease6, is_refused: bool) -> IANA {
    let renew = lease.renew.unwrap_or(lease.seconds / 2);
    let mut opts = DhcpOptions::new();
    let address = |address, seconds| {
        let (preferred_life, valid_life, opts) = (seconds, seconds, DhcpOptions::new());
        DhcpOption::IAAddr(IAAddr { addr: address, preferred_life, valid_life, opts })
    };
    if is_refused {
        opts.insert(status(Status::NoBinding));
    } else {
        opts.insert(address(lease.address, lease.seconds));
    }
    for option in association.opts.iter() {
        if let DhcpOption::IAAddr(old) = option
            && (is_refused || old.addr != lease.address)
        {
            opts.insert(address(old.addr, 0));
        }
    }
    IANA { id: association.id, t1: renew, t2: lease.seconds / 8 * 7, opts }
}

/// The addresses that a client names.
fn asked(request: &Message) -> impl Iterator<Item = (u32, std::net::Ipv6Addr)> {
    request.opts().iter().flat_map(|option| {
        let DhcpOption::IANA(association) = option else { return Vec::new() };
        let addresses = association.opts.iter().filter_map(|o| match o {
            DhcpOption::IAAddr(a) => Some((association.id, a.addr)),
            _ => None,
        });
        addresses.collect()
    })
}

fn status(status: Status) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: String::new() })
}
