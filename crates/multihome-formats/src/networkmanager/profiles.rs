//! Which profile a link uses.

use crate::card::Card;
use crate::ini::{self, Dialect, Section};
use crate::{Problem, Tree};

/// Where profiles are, the strongest first (`nms-keyfile-plugin.c`).
pub(super) const DIRECTORIES: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];
/// What NetworkManager says of each device, by index.
pub(super) const DEVICES: &str = "/run/NetworkManager/devices";

/// A profile.
pub(super) struct Profile<'a> {
    /// Its file.
    pub(super) path: &'a str,
    /// All of it.
    pub(super) text: &'a str,
    /// In sections; a group that comes twice is one.
    pub(super) sections: Vec<Section<'a>>,
}

impl Profile<'_> {
    /// What a key of a section says last.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let of_name = self.sections.iter().filter(|s| s.name == section);
        let mut entries = of_name.flat_map(|s| &s.entries).filter(|e| e.key == key);
        entries.next_back().map(|e| e.value.as_ref())
    }

    /// What `nmcli` knows it by.
    pub(super) fn id(&self) -> Option<(&'static str, &str)> {
        let uuid = self.get("connection", "uuid").map(|uuid| ("uuid", uuid));
        uuid.or_else(|| self.get("connection", "id").map(|id| ("id", id)))
    }

    /// Whether it names a link, by name or by address.
    pub(super) fn is_of(&self, card: Card<'_>) -> bool {
        let name = self.get("connection", "interface-name");
        let kinds = ["ethernet", "802-3-ethernet"];
        let mac = kinds.into_iter().find_map(|kind| self.get(kind, "mac-address"));
        match (name, mac) {
            (None, None) => false,
            (name, mac) => {
                let same = |a: &str| card.mac.is_some_and(|b| a.eq_ignore_ascii_case(b));
                name.is_none_or(|name| name == card.name) && mac.is_none_or(same)
            }
        }
    }
}

/// All profiles, in the order of their directories.
pub(super) fn all(there: &Tree) -> Result<Vec<Profile<'_>>, Problem> {
    let mut profiles = Vec::new();
    for directory in DIRECTORIES {
        for (path, text) in there {
            let name = path.strip_prefix(directory).and_then(|p| p.strip_prefix('/'));
            if name.is_some_and(|n| n.ends_with(".nmconnection") && !n.contains('/')) {
                let sections = ini::read(path, text, Dialect::Keyfile)?;
                profiles.push(Profile { path, text, sections });
            }
        }
    }
    Ok(profiles)
}

/// The profile that a link uses: that which NetworkManager says, or else the first of those that
/// name the link, by their priorities.
pub(super) fn active<'a, 'p>(
    there: &Tree,
    profiles: &'p [Profile<'a>],
    card: Card<'_>,
) -> Option<&'p Profile<'a>> {
    let state = there.get(&format!("{DEVICES}/{}", card.link));
    let uuid = state.and_then(|s| s.lines().find_map(|l| l.strip_prefix("connection-uuid=")));
    let by_uuid = |p: &&Profile<'_>| uuid.is_some() && p.get("connection", "uuid") == uuid;
    profiles.iter().find(by_uuid).or_else(|| {
        // A profile without a uuid gets one that is not in its file.
        let of_link = profiles.iter().filter(|p| p.is_of(card));
        let priority = |p: &&Profile<'_>| -> i64 {
            let said = p.get("connection", "autoconnect-priority");
            said.and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        of_link.rev().max_by_key(priority)
    })
}
