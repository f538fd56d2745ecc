//! Looking: who translates destinations, which bits of the mark are used, and our table.
//!
//! A look is several dumps. The kernel marks a dump during which the ruleset changed, and counts
//! its generations; a look in which either says that there was a change is made again.

use std::collections::{BTreeMap, BTreeSet};

use multihome_core::Family;
use multihome_core::model::netfilter::{MarkUse, Netfilter, TABLE};
use rustix::io::Errno;

use super::marks::{self, Asked};
use super::read::{self, Chain, Element, Set, TableName};
use super::table::{self, Parts};
use super::uapi::{
    NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING, NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFPROTO_IPV4,
    NFPROTO_IPV6, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETRULE, NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWGEN, NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_TABLE, NFTA_TABLE_NAME,
};
use super::{Nft, legacy, message};
use crate::error::Error;
use crate::uapi::AF_UNSPEC;
use crate::wire::{Malformed, Message};

/// How often a look is tried before it is called incomplete.
const ATTEMPTS: usize = 5;

/// One look.
#[derive(Debug, Default)]
struct Look {
    found: Netfilter,
    /// Something changed meanwhile.
    interrupted: bool,
    /// Something of our own table could not be decoded.
    strange: bool,
}

/// What the rules of one chain use.
type Uses = BTreeMap<(TableName, String), (u32, Vec<Asked>)>;

impl Nft {
    /// What netfilter holds. `None` where the process may not ask (`CAP_NET_ADMIN`), or the
    /// kernel has no nf_tables.
    ///
    /// # Errors
    /// When the kernel refuses a dump. What could not be read in full is no error: see
    /// [`Netfilter::unread`].
    pub fn observe(&mut self) -> Result<Option<Netfilter>, Error> {
        let mut before = match self.generation() {
            Ok(generation) => generation,
            // nfnetlink without nf_tables knows no such subsystem (nfnetlink_rcv_msg).
            Err(e) if e.is_permission() || e.is_unsupported() || is(&e, Errno::INVAL) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        let mut attempt = 1;
        let mut found = loop {
            let look = self.look()?;
            let after = self.generation()?;
            let mut found = look.found;
            if before == after && !look.interrupted {
                break found;
            }
            if attempt == ATTEMPTS {
                found.unread.push(format!(
                    "nftables could not be read whole in {ATTEMPTS} tries: it changed while it was read"
                ));
                break found;
            }
            log::debug!("nftables changed while it was read; once more");
            (before, attempt) = (after, attempt + 1);
        };
        legacy::observe(&mut found);
        found.marks.sort();
        Ok(Some(found))
    }

    fn generation(&mut self) -> Result<u32, Error> {
        let mut id = Ok(0);
        self.socket.query(&mut message(NFT_MSG_GETGEN, 0, AF_UNSPEC), &mut |kind, payload| {
            if kind == of(NFT_MSG_NEWGEN) {
                id = read::generation(payload).map(|g| g.id);
            }
        })?;
        Ok(id?)
    }

    fn look(&mut self) -> Result<Look, Error> {
        let ours = TableName::new(NFPROTO_INET, TABLE);
        let mut look = Look::default();
        let mut parts = Parts::default();
        let mut chains: Vec<Chain> = Vec::new();
        self.dump(&mut look, &mut get(NFT_MSG_GETCHAIN), NFT_MSG_NEWCHAIN, &mut |payload| {
            let chain = read::chain(payload)?;
            let list = if chain.table == ours { &mut parts.chains } else { &mut chains };
            list.push(chain);
            Ok(())
        })?;
        let (mut uses, mut with_rules) = (Uses::new(), BTreeSet::new());
        self.dump(&mut look, &mut get(NFT_MSG_GETRULE), NFT_MSG_NEWRULE, &mut |payload| {
            let rule = read::rule(payload)?;
            if rule.table == ours {
                parts.rules.push(rule);
                return Ok(());
            }
            let used = marks::used(&rule.exprs);
            if !with_rules.contains(&rule.table) {
                with_rules.insert(rule.table.clone());
            }
            if used.bits != 0 || !used.asked.is_empty() {
                let (bits, asked) = uses.entry((rule.table, rule.chain)).or_default();
                *bits |= used.bits;
                asked.extend(used.asked);
            }
            Ok(())
        })?;
        look.found.nat = nat(&chains, &with_rules);
        look.found.marks = self.marks(&mut look, uses)?;
        self.table(&mut look, &ours, &mut parts)?;
        look.found.table = table::held(&parts);
        if look.strange {
            look.found.table = multihome_core::model::netfilter::Held::Altered;
        }
        Ok(look)
    }

    fn marks(&mut self, look: &mut Look, uses: Uses) -> Result<Vec<MarkUse>, Error> {
        let mut sets: BTreeMap<(TableName, String), Option<Vec<Element>>> = BTreeMap::new();
        let mut marks = Vec::new();
        for ((table, chain), (mut bits, asked)) in uses {
            for asked in asked {
                let name = (table.clone(), asked.set.clone());
                if !sets.contains_key(&name) {
                    let elements = self.elements(look, &table, &asked.set)?;
                    sets.insert(name.clone(), elements);
                }
                bits |= asked.bits(sets.get(&name).and_then(|e| e.as_deref()));
            }
            if bits != 0 {
                marks.push(MarkUse { by: format!("nft {} {chain}", table.words()), bits });
            }
        }
        Ok(marks)
    }

    /// Our table, but for its chains and rules, which came with those of others.
    fn table(&mut self, look: &mut Look, ours: &TableName, parts: &mut Parts) -> Result<(), Error> {
        let mut request = message(NFT_MSG_GETTABLE, 0, ours.family);
        request.attr_str(NFTA_TABLE_NAME, &ours.name);
        let mut answer = Ok(());
        let outcome = self.socket.query(&mut request, &mut |kind, payload| {
            if kind == of(NFT_MSG_NEWTABLE) {
                answer = read::table(payload).map(|table| parts.table = Some(table));
            }
        });
        match outcome {
            Ok(()) => answer?,
            Err(e) if e.is_absent() => return Ok(()),
            Err(e) => return Err(e),
        }
        let mut request = message(NFT_MSG_GETSET, 0, ours.family);
        request.attr_str(NFTA_SET_TABLE, &ours.name);
        let unread = look.found.unread.len();
        let mut sets: Vec<Set> = Vec::new();
        self.dump(look, &mut request, NFT_MSG_NEWSET, &mut |payload| {
            let set = read::set(payload)?;
            if set.table == *ours {
                sets.push(set);
            }
            Ok(())
        })?;
        for family in Family::BOTH {
            let (name, _) = multihome_core::model::netfilter::map(family);
            if sets.iter().any(|s| s.name == name) {
                let elements = self.elements(look, ours, name)?.unwrap_or_default();
                parts.elements.insert(name.to_owned(), elements);
            }
        }
        parts.sets = sets;
        look.strange |= look.found.unread.len() > unread;
        Ok(())
    }

    /// The elements of a set; `None` when they could not be decoded.
    fn elements(
        &mut self,
        look: &mut Look,
        table: &TableName,
        set: &str,
    ) -> Result<Option<Vec<Element>>, Error> {
        let mut request = message(NFT_MSG_GETSETELEM, 0, table.family);
        request.attr_str(NFTA_SET_ELEM_LIST_TABLE, &table.name);
        request.attr_str(NFTA_SET_ELEM_LIST_SET, set);
        let mut elements = Vec::new();
        let unread = look.found.unread.len();
        self.dump(look, &mut request, NFT_MSG_NEWSETELEM, &mut |payload| {
            read::elements(payload, &mut elements)
        })?;
        Ok((look.found.unread.len() == unread).then_some(elements))
    }

    /// One dump, of which messages of one kind are wanted.
    fn dump(
        &mut self,
        look: &mut Look,
        request: &mut Message,
        wanted: u16,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let unread = &mut look.found.unread;
        let outcome = self.socket.dump(request, &mut |kind, payload| {
            if kind == of(wanted)
                && let Err(e) = each(payload)
            {
                unread.push(format!("nftables: {e}"));
            }
        });
        match outcome {
            Ok(dump) => look.interrupted |= dump.interrupted,
            // A table or a set that went meanwhile; a buffer that has been enlarged; and EINTR,
            // with which a dump of elements ends when the ruleset changed (nf_tables_dump_set).
            Err(e) if e.is_absent() || e.is_unknown() || is(&e, Errno::INTR) => {
                look.interrupted = true;
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

// ===== helpers =====

/// The families in which a table with rules has a base chain that may translate destinations.
fn nat(chains: &[Chain], with_rules: &BTreeSet<TableName>) -> BTreeSet<Family> {
    let mut families = BTreeSet::new();
    for chain in chains {
        let translates = chain.base.as_ref().is_some_and(|b| {
            b.kind == "nat" && [NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT].contains(&b.hook)
        });
        if translates && with_rules.contains(&chain.table) {
            match chain.table.family {
                NFPROTO_IPV4 => families.extend([Family::V4]),
                NFPROTO_IPV6 => families.extend([Family::V6]),
                NFPROTO_INET => families.extend(Family::BOTH),
                _ => {}
            }
        }
    }
    families
}

/// A dump of all families.
fn get(kind: u16) -> Message {
    message(kind, 0, AF_UNSPEC)
}

/// `nlmsg_type` of a message of nf_tables.
fn of(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

fn is(e: &Error, errno: Errno) -> bool {
    e.errno() == Some(errno.raw_os_error())
}
