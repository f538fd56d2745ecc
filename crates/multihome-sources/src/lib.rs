//! What network managers and DHCP clients keep on file of the ways out.
//!
//! [`read`] turns their files into the [`Hints`] of a snapshot, [`Watch`] says when a file
//! changed, and [`hook`] turns what a manager tells its hooks into files of our own, for hosts
//! where nobody else keeps any.
//!
//! ```text
//! files.rs       a file is read, or why it is not believed
//! places.rs      which files there are, and what they are
//! networkd.rs networkmanager.rs dhclient.rs dhcpcd.rs initramfs.rs records.rs
//!                one format each: bytes to hints, pure
//! routes.rs      option 121, in every notation
//! hook/          what hooks are told, pure, and how it is written down
//! interface.rs   which interface has a name
//! watch.rs       when a file changes
//! networkd_conf.rs
//!                what networkd is told about what is not its own, for the doctor
//! ```

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use multihome_core::model::Hints;
use multihome_core::model::hint::Refused;

mod calendar;
mod dhclient;
mod dhclient_words;
mod dhcpcd;
mod files;
mod former;
pub mod hook;
mod initramfs;
mod interface;
mod networkd;
pub mod networkd_conf;
mod networkmanager;
#[doc(hidden)]
pub mod parse;
mod places;
mod records;
mod routes;
mod watch;

use files::{Content, Directory, refused};
use parse::{File, Format, Parsed, parse};
pub use places::Places;
use places::{NETWORKD_LINKS, Place, REMEDY_FOR_A_PART};
pub use watch::Watch;

/// How often, and how soon again, a file is looked at that somebody is writing right now. Those
/// are some kilobytes, written in one go.
const LOOKS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Reads all files. It never fails: what cannot be believed is in [`Hints::refused`], and what
/// has expired is left out.
#[must_use]
pub fn read(places: &Places, now: SystemTime) -> Hints {
    let mut reader = Reader { places, now: seconds(now), hints: Hints::default() };
    for place in places.all() {
        // It says nothing without the lease, and is read beside it.
        if place.format != Format::NetworkdLink {
            reader.read(&place);
        }
    }
    let Reader { mut hints, now, .. } = reader;
    hints.found.retain(|h| h.expires.is_none_or(|end| end > now));
    hints.found.sort();
    hints.refused.sort();
    hints
}

/// Seconds since 1970.
fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Goes through the places.
struct Reader<'a> {
    places: &'a Places,
    now: u64,
    hints: Hints,
}

impl Reader<'_> {
    fn read(&mut self, place: &Place) {
        let directory = match Directory::open(self.places.root(), &place.dir) {
            Ok(Some(directory)) => directory,
            Ok(None) => return,
            Err(e) => return self.hints.refused.push(e),
        };
        let (names, too_many) = directory.names(|name| place.format.wants(name));
        if let (false, Some(distrust)) = (names.is_empty(), directory.distrust()) {
            return self.hints.refused.push(distrust.clone());
        }
        self.hints.refused.extend(too_many);
        let links = match place.format {
            Format::Networkd => {
                match Directory::open(self.places.root(), Path::new(NETWORKD_LINKS)) {
                    Ok(links) => links,
                    Err(e) => return self.hints.refused.push(e),
                }
            }
            _ => None,
        };
        for name in names {
            let found = match place.format {
                Format::Networkd => self.networkd(&directory, links.as_ref(), &name),
                format => self.file(&directory, &name, format),
            };
            match found {
                Ok(hints) => {
                    self.hints.found.extend(hints.found);
                    self.hints.refused.extend(hints.refused);
                }
                Err(e) => self.hints.refused.push(e),
            }
        }
    }

    /// A lease of networkd's, if networkd still says that the link is its.
    fn networkd(
        &self,
        leases: &Directory,
        links: Option<&Directory>,
        name: &str,
    ) -> Result<Hints, Refused> {
        let Some(links) = links else { return Ok(Hints::default()) };
        let Some(state) = links.read(name)? else { return Ok(Hints::default()) };
        let shown = links.shown(name);
        let is_leftover = networkd::is_leftover(self.as_file(name, &shown, &state));
        match is_leftover {
            Ok(false) => self.file(leases, name, Format::Networkd),
            Ok(true) => Ok(Hints::default()),
            Err(e) => Err(refused(shown, e, Format::NetworkdLink.remedy())),
        }
    }

    fn file(&self, directory: &Directory, name: &str, format: Format) -> Result<Hints, Refused> {
        let shown = directory.shown(name);
        for look in 1.. {
            let Some(content) = directory.read(name)? else { break };
            let parsed = parse(format, self.as_file(name, &shown, &content));
            let Parsed { mut hints, is_cut, passed_over } =
                parsed.map_err(|e| refused(&shown, e, format.remedy()))?;
            if format == Format::Record {
                hints.retain(|hint| records::is_here(name, hint));
            }
            let passed_over = passed_over.into_iter();
            let hints = Hints {
                found: hints,
                refused: passed_over.map(|e| refused(&shown, e, REMEDY_FOR_A_PART)).collect(),
            };
            if !is_cut {
                return Ok(hints);
            }
            let is_being_written =
                format.is_written_in_place() && content.modified.saturating_add(1) >= self.now;
            if is_being_written && look < LOOKS {
                thread::sleep(BETWEEN_LOOKS);
            } else if is_being_written || format == Format::Dhclient {
                // What is complete counts.
                return Ok(hints);
            } else {
                return Err(refused(&shown, "it ends too soon", format.remedy()));
            }
        }
        Ok(Hints::default())
    }

    fn as_file<'a>(&self, name: &'a str, shown: &'a str, content: &'a Content) -> File<'a> {
        let Content { bytes, modified } = content;
        File { name, shown, bytes, modified: *modified, now: self.now }
    }
}
