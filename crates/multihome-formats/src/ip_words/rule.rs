//! `ip rule add`.

use std::collections::BTreeMap;

use multihome_core::model::names::{self, TABLE_MAIN};
use multihome_core::model::rule::{DSCP_FULL, FLOWLABEL_FULL};
use multihome_core::model::{Action, Rule};
use multihome_core::prefix::{Family, Prefix};

use super::read::{
    Context, Network, Words, masked, number, number64, protocol, settle, short, tos,
};

/// A rule that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadRule {
    /// The rule; its priority is 0 as long as nobody has said it.
    pub(crate) rule: Rule,
    /// Whether a priority was said.
    pub(crate) has_priority: bool,
}

/// The priorities of the rules that there are so far, to find those that nobody says.
#[derive(Debug, Default)]
pub(crate) struct Priorities {
    /// The lowest but that of the rule for `local`.
    lowest: BTreeMap<Family, u32>,
}

/// What is known of a rule so far.
struct Draft<'a> {
    context: &'a Context<'a>,
    family: Option<Family>,
    from: Option<Network>,
    to: Option<Network>,
    table: Option<u32>,
    action: Option<Action>,
    has_priority: bool,
    rule: Rule,
}

/// Reads what stands behind `ip rule add`.
pub(crate) fn rule<S: AsRef<str>>(words: &[S], context: &Context<'_>) -> Result<ReadRule, String> {
    let mut draft = Draft {
        context,
        family: context.family,
        from: None,
        to: None,
        table: None,
        action: None,
        has_priority: false,
        rule: Rule { protocol: 0, ..Rule::new(Family::V4, 0, Action::Lookup(TABLE_MAIN)) },
    };
    if words.is_empty() {
        return Err("there is no rule".to_owned());
    }
    let mut words = Words::new(words);
    while let Some(word) = words.next() {
        if !draft.selector(word, &mut words)? {
            draft.rest(word, &mut words)?;
        }
    }
    draft.finish()
}

impl Draft<'_> {
    /// The words that say which packets it is for; whether the word was one.
    fn selector<S: AsRef<str>>(
        &mut self,
        word: &str,
        words: &mut Words<'_, S>,
    ) -> Result<bool, String> {
        let rule = &mut self.rule;
        match word {
            "not" => rule.not = true,
            "from" => self.from = Some(network(&mut self.family, words.value(word)?)?),
            "to" => self.to = Some(network(&mut self.family, words.value(word)?)?),
            "tos" => rule.tos = Some(tos(words.value(word)?)?).filter(|t| *t != 0),
            "fwmark" => {
                let (mark, mask) = behind(words, word, masked)?;
                // `fib_nl2rule`: of a mark that is 0, no bit is compared unless a mask says which.
                let mask = mask.unwrap_or(if mark == 0 { 0 } else { u32::MAX });
                rule.fwmark = Some((mark, mask)).filter(|both| *both != (0, 0));
            }
            "dev" | "iif" => rule.iif = Some(interface(words.value(word)?)?),
            "oif" => rule.oif = Some(interface(words.value(word)?)?),
            "uidrange" => rule.uidrange = Some(behind(words, word, uids)?),
            "ipproto" => rule.ipproto = Some(behind(words, word, names::ipproto_number)?),
            "sport" => (rule.sport, rule.sport_mask) = behind(words, word, ports)?,
            "dport" => (rule.dport, rule.dport_mask) = behind(words, word, ports)?,
            "dscp" => {
                let (dscp, mask) = behind(words, word, masked)?;
                let six = |n: u32| u8::try_from(n).ok().filter(|n| *n <= DSCP_FULL);
                let mask = mask.map_or(Some(DSCP_FULL), six);
                rule.dscp = Some(six(dscp).zip(mask).ok_or("`dscp` has six bits")?);
            }
            "flowlabel" => {
                let (label, mask) = behind(words, word, masked)?;
                rule.flowlabel = Some((label, mask.unwrap_or(FLOWLABEL_FULL)));
            }
            "l3mdev" => rule.l3mdev = true,
            w if short(w, "dsfield") => {
                rule.tos = Some(tos(words.value(word)?)?).filter(|t| *t != 0);
            }
            w if w != "t" && short(w, "tun_id") => {
                rule.tun_id = Some(behind(words, word, number64)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Everything else: where it stands and what it does.
    fn rest<S: AsRef<str>>(&mut self, word: &str, words: &mut Words<'_, S>) -> Result<(), String> {
        match word {
            "lookup" => self.table = Some(self.context.table(words.value(word)?)?),
            "sup_pl" => self.suppress_prefixlength(words.number(word)?)?,
            "sup_group" => self.rule.suppress_ifgroup = Some(group(words.value(word)?)?),
            w if short(w, "preference") || short(w, "order") || short(w, "priority") => {
                self.rule.priority = words.number(word)?;
                self.has_priority = true;
            }
            w if short(w, "realms") => self.rule.realms = Some(behind(words, word, realms)?),
            w if short(w, "protocol") => self.rule.protocol = protocol(words.value(word)?)?,
            w if short(w, "table") => self.table = Some(self.context.table(words.value(word)?)?),
            w if short(w, "suppress_prefixlength") => {
                self.suppress_prefixlength(words.number(word)?)?;
            }
            w if short(w, "suppress_ifgroup") => {
                self.rule.suppress_ifgroup = Some(group(words.value(word)?)?);
            }
            "nat" => return Err("`nat` is no more".to_owned()),
            w if short(w, "map-to") => return Err("`map-to` is no more".to_owned()),
            _ => self.action(word, words)?,
        }
        Ok(())
    }

    fn suppress_prefixlength(&mut self, length: u32) -> Result<(), String> {
        if i32::try_from(length).is_err() {
            return Err(format!("`suppress_prefixlength`: {length} is too much"));
        }
        self.rule.suppress_prefixlength = Some(length);
        Ok(())
    }

    fn action<S: AsRef<str>>(
        &mut self,
        word: &str,
        words: &mut Words<'_, S>,
    ) -> Result<(), String> {
        let word = if word == "type" { words.value(word)? } else { word };
        let action = match word {
            w if short(w, "goto") => Action::Goto(words.number(word)?),
            w if short(w, "nop") => Action::Nop,
            w if short(w, "prohibit") => Action::Prohibit,
            w if short(w, "unreachable") => Action::Unreachable,
            w if short(w, "blackhole") => Action::Blackhole,
            w if short(w, "unicast") => return Ok(()),
            _ => return Err(format!("`{word}` is not understood")),
        };
        if self.action.replace(action).is_some() {
            return Err(format!("`{word}` is a second action"));
        }
        Ok(())
    }

    fn finish(self) -> Result<ReadRule, String> {
        // `iprule_modify` makes an IPv4 rule unless it is told otherwise, whatever the prefixes are.
        if self.context.family.is_none() && self.family == Some(Family::V6) {
            return Err("an IPv6 rule needs `ip -6`".to_owned());
        }
        let family = self.family.unwrap_or(Family::V4);
        if self.rule.l3mdev && (self.table.is_some() || self.action.is_some()) {
            return Err("`l3mdev` beside another table or action".to_owned());
        }
        if self.table.is_some() && self.action.is_some() {
            return Err("a table and another action".to_owned());
        }
        let table = Action::Lookup(self.table.unwrap_or(TABLE_MAIN));
        // What is for all is not said (`fib_nl_fill_rule`).
        let prefix = |network: Option<Network>| -> Option<Prefix> {
            network.map(|n| n.prefix(family)).filter(|p| !p.is_default())
        };
        let rule = Rule {
            family,
            from: prefix(self.from),
            to: prefix(self.to),
            action: self.action.unwrap_or(table),
            ..self.rule
        };
        if let Action::Goto(target) = rule.action
            && self.has_priority
            && target <= rule.priority
        {
            return Err("`goto` leads backwards, and the kernel refuses it".to_owned());
        }
        Ok(ReadRule { rule, has_priority: self.has_priority })
    }
}

// ===== impl Priorities =====

impl Priorities {
    /// The rule with the priority that the kernel gives it if none was said: one less than that of the
    /// second rule that there is (`fib_default_rule_pref`).
    pub(crate) fn place(&mut self, read: ReadRule) -> Result<Rule, String> {
        let ReadRule { mut rule, has_priority } = read;
        let lowest = self.lowest.entry(rule.family).or_insert(32_766);
        if !has_priority {
            rule.priority = lowest.checked_sub(1).ok_or("there is no priority left in front")?;
        }
        if rule.priority != 0 {
            *lowest = (*lowest).min(rule.priority);
        }
        Ok(rule)
    }
}

// ===== values =====

/// A value behind a word.
fn behind<S: AsRef<str>, T>(
    words: &mut Words<'_, S>,
    of: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let value = words.value(of)?;
    read(value).ok_or_else(|| format!("`{of}`: `{value}` is not understood"))
}

fn network(family: &mut Option<Family>, word: &str) -> Result<Network, String> {
    let network = Network::read(word)?;
    if let Some(of) = network.family() {
        settle(family, of, word)?;
    }
    Ok(network)
}

/// `check_ifname`: a rule may name a link that is not there yet.
fn interface(word: &str) -> Result<String, String> {
    let fits = !word.is_empty() && word.len() < 16;
    if !fits || word.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(format!("`{word}` is no name of an interface"));
    }
    Ok(word.to_owned())
}

/// `rtnl_group_a2n`; of the names of /etc/iproute2/group the one that everybody has.
fn group(word: &str) -> Result<u32, String> {
    match word {
        "default" => Ok(0),
        _ => number(word).ok_or_else(|| format!("there is no group `{word}`")),
    }
}

fn uids(word: &str) -> Option<(u32, u32)> {
    let (first, last) = word.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

type Ports = (Option<(u16, u16)>, Option<u16>);

/// `iprule_port_parse`: a port, a range, or a port under a mask.
fn ports(word: &str) -> Option<Ports> {
    let port = |word: &str| number(word).and_then(|n| u16::try_from(n).ok());
    if let Some((first, last)) = word.split_once('-') {
        return Some((Some((port(first)?, port(last)?)), None));
    }
    if let Some((value, mask)) = word.split_once('/') {
        let (value, mask) = (port(value)?, port(mask)?);
        return Some((Some((value, value)), Some(mask).filter(|m| *m != u16::MAX)));
    }
    Some((Some((port(word)?, port(word)?)), None))
}

/// `get_rt_realms_or_raw`, by numbers.
fn realms(word: &str) -> Option<u32> {
    let Some((from, to)) = word.split_once('/') else { return number(word) };
    let half = |word: &str| number(word).filter(|n| *n <= 0xffff);
    let to = if to.is_empty() { 0 } else { half(to)? };
    Some(half(from)? << 16 | to)
}
