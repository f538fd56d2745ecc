//! Every client against every address of the host, by TCP and UDP, at once.

use std::fmt;
use std::net::IpAddr;

use multihome_core::Family;

use crate::traffic::{Answer, Proto};

/// One question of a matrix, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who asked.
    pub client: String,
    /// Whom.
    pub address: IpAddr,
    /// How.
    pub proto: Proto,
    /// What came of it.
    pub answer: Answer,
}

/// All of them, clients first, then addresses, then protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// The cells.
    pub cells: Vec<Cell>,
}

// ===== impl Matrix =====

impl Matrix {
    /// The cells that were answered, or not.
    pub fn answered(&self, answered: bool) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |c| c.answer.is_answered() == answered)
    }

    /// Whether every cell was answered.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.answered(false).next().is_none()
    }

    /// Whether a client was answered by an address by both protocols; none when it was by one
    /// of them only, or was not asked.
    #[must_use]
    pub fn verdict(&self, client: &str, address: IpAddr) -> Option<bool> {
        let mut cells = self
            .cells
            .iter()
            .filter(|c| c.client == client && c.address == address)
            .map(|c| c.answer.is_answered());
        let first = cells.next()?;
        cells.all(|a| a == first).then_some(first)
    }

    fn clients(&self) -> Vec<&str> {
        let mut clients: Vec<&str> = self.cells.iter().map(|c| c.client.as_str()).collect();
        clients.dedup();
        clients
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for cell in &self.cells {
            if !addresses.contains(&cell.address) {
                addresses.push(cell.address);
            }
        }
        // IPv4 first, and the order of the cards within a family.
        addresses.sort_by_key(|a| Family::of(*a));
        addresses
    }
}

/// A table of words for tests and logs: a line for each address, a column for each client.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses();
        let width = addresses.iter().map(|a| a.to_string().len()).max().unwrap_or(0);
        write!(f, "{:width$}", "")?;
        for client in self.clients() {
            write!(f, "  {client:>11}")?;
        }
        for address in addresses {
            write!(f, "\n{:width$}", address.to_string())?;
            for client in self.clients() {
                let word = match self.verdict(client, address) {
                    Some(true) => "answered",
                    Some(false) => "silent",
                    None => "partly",
                };
                write!(f, "  {word:>11}")?;
            }
        }
        Ok(())
    }
}
