//! The variables of a hook. Whatever is wrong with one names it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{Error, Hook};
use crate::parse::check_interface;
use crate::routes::{self, Pair, not};

/// The variables of a hook.
#[derive(Debug, Clone, Copy)]
pub(super) struct Environment<'a> {
    pub(super) hook: Hook,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// What time it is, in seconds since 1970.
    pub(super) now: u64,
}

impl<'a> Environment<'a> {
    /// A variable, if it is set to something.
    pub(super) fn get(self, variable: &str) -> Option<&'a str> {
        self.variables.get(variable).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// A variable that is always set.
    pub(super) fn need(self, variable: &str) -> Result<&'a str, Error> {
        self.get(variable)
            .ok_or_else(|| Error::Missing { hook: self.hook, variable: variable.to_owned() })
    }

    /// A variable that names an interface.
    pub(super) fn interface(self, variable: &str) -> Result<&'a str, Error> {
        let name = self.need(variable)?;
        self.check_interface(variable, name).map(|()| name)
    }

    /// Whether `name`, which `variable` holds, can be an interface's.
    pub(super) fn check_interface(self, variable: &str, name: &str) -> Result<(), Error> {
        check_interface(name).map_err(|e| {
            let shown = routes::beginning(name);
            self.wrong(variable, format!("`{shown}` is not an interface: {e}"))
        })
    }

    /// A variable that holds an address and is always set.
    pub(super) fn need_ipv4(self, variable: &str) -> Result<Ipv4Addr, Error> {
        let value = self.need(variable)?;
        value.parse().map_err(|_| self.wrong(variable, not(value, "IPv4 address")))
    }

    /// A variable that holds an address of either family.
    pub(super) fn address(self, variable: &str) -> Result<Option<IpAddr>, Error> {
        let parse =
            |value: &str| value.parse().map_err(|_| self.wrong(variable, not(value, "IP address")));
        self.get(variable).map(parse).transpose()
    }

    /// A variable that holds IPv4 addresses.
    pub(super) fn addresses(self, variable: &str) -> Result<Vec<Ipv4Addr>, Error> {
        routes::addresses(self.get(variable).unwrap_or("")).map_err(|e| self.wrong(variable, e))
    }

    /// A variable that holds a number.
    pub(super) fn number(self, variable: &str) -> Result<Option<u64>, Error> {
        let parse =
            |value: &str| value.parse().map_err(|_| self.wrong(variable, not(value, "number")));
        self.get(variable).map(parse).transpose()
    }

    /// The first of these variables that holds classless routes.
    pub(super) fn classless(self, variables: &[String]) -> Result<Option<Vec<Pair>>, Error> {
        for variable in variables {
            if let Some(value) = self.get(variable) {
                let pairs = match value.contains(':') {
                    true => routes::from_hex(value),
                    false => routes::from_text(value),
                };
                return pairs.map(Some).map_err(|e| self.wrong(variable, e));
            }
        }
        Ok(None)
    }

    pub(super) fn wrong(self, variable: &str, reason: String) -> Error {
        Error::Wrong { hook: self.hook, variable: variable.to_owned(), reason }
    }
}
