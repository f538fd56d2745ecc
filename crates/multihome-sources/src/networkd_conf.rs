//! What systemd-networkd is told to do with rules and routes that are not its own:
//! networkd.conf(5) and its drop-ins.
//!
//! Read as systemd reads it (`config_parse_standard_file_with_dropins`): of the main file the
//! first that is there, of drop-ins with one name the first, all in the order of their names, the
//! last word counts, and an empty value is the default again. It decides about words for the
//! operator and nothing else, so a file that cannot be read is one that is not there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use multihome_core::model::host::Networkd;

/// In the order of their rank.
const DIRECTORIES: [&str; 5] =
    ["etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd"];
/// Where networkd writes down how it stands; it outlives the process, not the boot.
const STATE: &str = "run/systemd/netif/state";
/// Nobody's configuration is longer.
const MOST: u64 = 1 << 20;

/// What networkd is told on the host whose root this is.
#[must_use]
pub fn read(root: &Path) -> Networkd {
    let mut networkd =
        Networkd { running: root.join(STATE).exists(), foreign_rules: true, foreign_routes: true };
    for path in files(root) {
        let mut text = Vec::new();
        let file = fs::File::open(path).and_then(|f| f.take(MOST).read_to_end(&mut text));
        if file.is_ok() {
            follow(&mut networkd, &String::from_utf8_lossy(&text));
        }
    }
    networkd
}

/// The files that count, in the order in which they do.
fn files(root: &Path) -> Vec<PathBuf> {
    let directories = || DIRECTORIES.iter().map(|d| root.join(d));
    let main = directories().map(|d| d.join("networkd.conf")).find(|p| p.exists());
    let mut drop_ins: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for directory in directories() {
        let entries = fs::read_dir(directory.join("networkd.conf.d")).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().ends_with(b".conf") {
                drop_ins.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    main.into_iter().chain(drop_ins.into_values()).collect()
}

fn follow(networkd: &mut Networkd, text: &str) {
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == "Network") else {
            continue;
        };
        let target = match key.trim() {
            "ManageForeignRoutingPolicyRules" => &mut networkd.foreign_rules,
            "ManageForeignRoutes" => &mut networkd.foreign_routes,
            _ => continue,
        };
        match boolean(value.trim()) {
            Some(value) => *target = value,
            None if value.trim().is_empty() => *target = true,
            // systemd passes over what it does not understand.
            None => {}
        }
    }
}

/// `parse_boolean`.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&str]) -> (bool, bool) {
        let mut networkd = Networkd { running: true, foreign_rules: true, foreign_routes: true };
        texts.iter().for_each(|text| follow(&mut networkd, text));
        (networkd.foreign_rules, networkd.foreign_routes)
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(told(&[]), (true, true));
        let no = "[Network]\nManageForeignRoutingPolicyRules=no\n";
        assert_eq!(told(&[no]), (false, true));
        assert_eq!(told(&[no, "[Network]\nManageForeignRoutes = off\n"]), (false, false));
        assert_eq!(told(&[no, "[Network]\nManageForeignRoutingPolicyRules=\n"]), (true, true));
        assert_eq!(
            told(&[no, "[Network]\nManageForeignRoutingPolicyRules=maybe\n"]),
            (false, true)
        );
        assert_eq!(
            told(&["#ManageForeignRoutes=no\n[DHCPv4]\nManageForeignRoutes=no\n"]),
            (true, true)
        );
        assert_eq!(
            told(&["[Network]\n#ManageForeignRoutes=no\n;ManageForeignRoutes=no\n"]),
            (true, true)
        );
    }

    #[test]
    fn a_drop_in_of_the_operator_hides_the_packages() {
        let root = std::env::temp_dir().join(format!("networkd-conf-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let no = "[Network]\nManageForeignRoutingPolicyRules=no\n";
        write("usr/lib/systemd/networkd.conf.d/50-multihome.conf", no);
        let read = || super::read(&root);
        assert!(!read().running && !read().foreign_rules);
        write("run/systemd/netif/state", "OPER_STATE=routable\n");
        assert!(read().running);
        write("etc/systemd/networkd.conf.d/50-multihome.conf", "");
        assert!(read().foreign_rules);
        write("etc/systemd/networkd.conf.d/90-mine.conf", no);
        write("etc/systemd/networkd.conf.d/README", "[Network]\nManageForeignRoutes=no\n");
        assert_eq!((read().foreign_rules, read().foreign_routes), (false, true));
        fs::remove_dir_all(&root).unwrap();
    }
}
