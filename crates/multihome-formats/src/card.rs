//! Links, as the files of managers name them.

use multihome_core::policy::Part;

use crate::Known;

/// A link, as files name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Card<'a> {
    /// Its index.
    pub(crate) link: u32,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its permanent address.
    pub(crate) mac: Option<&'a str>,
}

impl<'a> Card<'a> {
    /// That of an uplink.
    pub(crate) fn of(part: &'a Part) -> Card<'a> {
        Card { link: part.link, name: &part.name, mac: part.mac.as_deref() }
    }
}

impl Known {
    /// The links of the host, by index.
    pub(crate) fn cards(&self) -> Vec<Card<'_>> {
        let mac = |link: u32| self.macs.iter().find(|(_, l)| **l == link).map(|(mac, _)| &**mac);
        let mut cards: Vec<Card<'_>> = self
            .links
            .iter()
            .map(|(name, link)| Card { link: *link, name, mac: mac(*link) })
            .collect();
        cards.sort_unstable_by_key(|card| card.link);
        cards
    }
}
