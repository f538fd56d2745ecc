//! The reverse path filter (`fib_validate_source` in net/ipv4/fib_frontend.c): what comes in is
//! dropped where an answer to it would leave by another link, as far as `rp_filter` says.

use super::Packet;
use crate::lookup::rule::Kind;
use crate::lookup::walk::{End, Key};
use crate::lookup::{Answer, Doubt, Outcome, Path, Refusal, Sanity, Unknown};
use crate::model::RouteKind;
use crate::prefix::Family;

impl<'a> Packet<'_, 'a> {
    /// The answer if the source is one that can come in by the link (`fib_validate_source`); `out`
    /// is the link that the packet is to leave by, if it is.
    pub(super) fn validated(&self, iif: u32, out: Option<u32>, path: Path<'a>) -> Answer<'a> {
        let lookup = self.lookup;
        let name = lookup.snapshot.link(iif).map_or("", |l| l.name.as_str());
        let effective = |key| lookup.snapshot.sysctls.effective(Family::V4, name, key);
        let Some(filter) = effective("rp_filter") else {
            return Answer {
                outcomes: vec![Outcome::Sent(path)],
                doubts: vec![Doubt::Unknown(Unknown::RpFilter)],
            };
        };
        let accept_local = effective("accept_local").unwrap_or(0) > 0;
        let redirects = effective("send_redirects").unwrap_or(0) > 0;
        let mut quick = None;
        if filter == 0 && (out != Some(iif) || !redirects) {
            if accept_local {
                return Answer::certain(Outcome::Sent(path));
            }
            // Without rules or local routes of somebody's (fib_has_custom_local_routes), only the host's own addresses are not
            // believed. That there was such a route once, the kernel does not forget.
            if self.merged && lookup.made_local.is_empty() {
                quick = Some(if lookup.owners.contains_key(&self.key.from) {
                    Outcome::sanity(Refusal::Invalid, Sanity::SourceIsOurs)
                } else {
                    Outcome::Sent(path.clone())
                });
            }
        }
        let marked = effective("src_valid_mark").unwrap_or(0) > 0;
        let key = Key {
            to: self.key.from,
            from: self.key.to,
            iif: out.unwrap_or(lookup.loopback),
            oif: 0,
            near: 0,
            mark: if marked { self.key.mark } else { 0 },
            kind: Kind { uid: 0, ..self.key.kind.reversed() },
            ..self.key.clone()
        };
        let (ends, doubts) = lookup.ends(&key, self.merged, &mut None);
        let mut answer = Answer { outcomes: quick.into_iter().collect(), doubts };
        for end in ends {
            answer.add(match self.distrust(iif, filter, accept_local, &end) {
                None => Outcome::Sent(path.clone()),
                Some(outcome) => outcome,
            });
        }
        answer
    }

    /// Why a packet is dropped whose answer would go that way, if so (`__fib_validate_source`).
    fn distrust(
        &self,
        iif: u32,
        filter: i64,
        accept_local: bool,
        end: &End<'a>,
    ) -> Option<Outcome<'a>> {
        let reverse = |route| Outcome::sanity(Refusal::CrossDevice, Sanity::ReversePath(route));
        let End::Route(_, route, _) = *end else {
            return (filter != 0).then(|| reverse(None));
        };
        let ours = route.kind == RouteKind::Local;
        if route.kind != RouteKind::Unicast && !(ours && accept_local) {
            return Some(Outcome::sanity(Refusal::Invalid, Sanity::SourceIsOurs));
        }
        let loopback = self.lookup.snapshot.link(iif).is_some_and(|l| l.is_loopback());
        if route.hops.iter().any(|h| h.link == iif) || ours && loopback {
            return None;
        }
        let has_address = self.lookup.snapshot.addresses_of(iif).any(|a| a.local.is_ipv4());
        let strict = filter == 1 || filter != 0 && !has_address;
        strict.then(|| reverse(Some(route)))
    }
}
