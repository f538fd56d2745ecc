//! DHCPv4 (RFC 2131), the server's side: one address, for whoever asks.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Encodable as _};
use ipnet::Ipv4Net;
use multihome_core::Prefix;
use multihome_lab::Mac;

use crate::server::{Conduct, Lease4, State};

/// The answer to a packet, and whom it is for.
pub fn answer(state: &mut State, packet: &[u8]) -> Option<(Vec<u8>, Ipv4Addr)> {
    let request = Message::from_bytes(packet).ok()?;
    let kind = request.opts().msg_type()?;
    if request.opcode() != Opcode::BootRequest || state.conduct == Conduct::Silent {
        return None;
    }
    let is_for_another = matches!(request.opts().get(OptionCode::ServerIdentifier),
        Some(DhcpOption::ServerIdentifier(id)) if *id != state.server);
    let wanted = match request.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => *address,
        _ => request.ciaddr(),
    };
    let lease = state.lease4.clone();
    match kind {
        MessageType::Discover => {
            state.said.push(format!("offer {}", lease.address));
            reply(state, &request, MessageType::Offer)
        }
        MessageType::Request if is_for_another => None,
        MessageType::Request if state.conduct == Conduct::Refuses || wanted != lease.address => {
            state.said.push("nak".to_owned());
            reply(state, &request, MessageType::Nak)
        }
        MessageType::Request => {
            state.said.push(format!("ack {}", lease.address));
            reply(state, &request, MessageType::Ack)
        }
        MessageType::Inform => reply(state, &request, MessageType::Ack),
        MessageType::Release => {
            state.said.push("release".to_owned());
            None
        }
        MessageType::Decline => {
            state.said.push("decline".to_owned());
            None
        }
        _ => None,
    }
}

/// Whose request a packet is.
pub fn client(packet: &[u8]) -> Option<Mac> {
    let request = Message::from_bytes(packet).ok()?;
    Some(Mac(request.chaddr().try_into().ok()?))
}

fn reply(state: &State, request: &Message, kind: MessageType) -> Option<(Vec<u8>, Ipv4Addr)> {
    let lease = &state.lease4;
    let mut reply = Message::default();
    reply
        .set_opcode(Opcode::BootReply)
        .set_xid(request.xid())
        .set_flags(request.flags())
        .set_chaddr(request.chaddr());
    let is_refused = kind == MessageType::Nak;
    let is_informed = request.opts().msg_type() == Some(MessageType::Inform);
    let options = reply.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(state.server));
    // RFC 6842.
    if let Some(id) = request.opts().get(OptionCode::ClientIdentifier) {
        options.insert(id.clone());
    }
    if !is_refused {
        fill(options, lease, is_informed);
        if !is_informed {
            reply.set_yiaddr(lease.address);
        }
        reply.set_ciaddr(request.ciaddr());
    }
    // Who has no address yet hears broadcasts only, and so does who is told that it has none.
    let has_address = !request.ciaddr().is_unspecified() && !is_refused;
    let to = if has_address { request.ciaddr() } else { Ipv4Addr::BROADCAST };
    Some((reply.to_vec().ok()?, to))
}

fn fill(options: &mut dhcproto::v4::DhcpOptions, lease: &Lease4, is_informed: bool) {
    let network = Ipv4Net::new(lease.address, lease.len).expect("a length of IPv4");
    options.insert(DhcpOption::SubnetMask(network.netmask()));
    options.insert(DhcpOption::BroadcastAddr(network.broadcast()));
    if !lease.routers.is_empty() {
        options.insert(DhcpOption::Router(lease.routers.clone()));
    }
    if !lease.classless.is_empty() {
        let routes = lease.classless.iter().map(|(dst, gateway)| (ipv4(dst), *gateway));
        options.insert(DhcpOption::ClasslessStaticRoute(routes.collect()));
    }
    if !is_informed {
        options.insert(DhcpOption::AddressLeaseTime(lease.seconds));
        options.insert(DhcpOption::Renewal(lease.renew.unwrap_or(lease.seconds / 2)));
        options.insert(DhcpOption::Rebinding(lease.rebind.unwrap_or(lease.seconds / 8 * 7)));
    }
}

fn ipv4(prefix: &Prefix) -> Ipv4Net {
    prefix.to_string().parse().expect("an IPv4 network with its length")
}
