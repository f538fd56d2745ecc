//! The options of `what-if` that say what is supposed: each can be given several times, and they
//! count in the order in which they were typed, which a derived parser does not keep.

use std::net::IpAddr;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use multihome_core::suppose::Supposition;

use crate::words;

/// What is supposed, in order.
#[derive(Debug, Clone, Default)]
pub struct Supposed(pub Vec<Supposition>);

type Parse = fn(&str) -> Result<Supposition, String>;

/// Name, value, help, and what is made of it.
const OPTIONS: [(&str, &str, &str, Parse); 5] = [
    ("link-down", "LINK", "A link goes down, as by `ip link set LINK down`", |v| {
        Ok(Supposition::LinkDown(v.to_owned()))
    }),
    ("carrier-lost", "LINK", "A link loses its carrier", |v| {
        Ok(Supposition::CarrierLost(v.to_owned()))
    }),
    ("add-address", "LINK=ADDRESS/LEN", "A link gets an address", added),
    ("del-address", "LINK=ADDRESS", "A link loses an address", deleted),
    ("route", "'add|del ROUTE'", "A route is added or deleted, in the words of `ip route`", route),
];

impl Args for Supposed {
    fn augment_args(mut command: Command) -> Command {
        for (name, value, help, parse) in OPTIONS {
            let arg = Arg::new(name).long(name).value_name(value).help(help);
            command = command.arg(arg.action(ArgAction::Append).value_parser(parse));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Supposed::augment_args(command)
    }
}

impl FromArgMatches for Supposed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Supposed, Error> {
        let mut typed: Vec<(usize, Supposition)> = Vec::new();
        for (name, ..) in OPTIONS {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<Supposition>(name).into_iter().flatten();
            typed.extend(places.zip(values.cloned()));
        }
        typed.sort_by_key(|(place, _)| *place);
        Ok(Supposed(typed.into_iter().map(|(_, what)| what).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Supposed::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `LINK=ADDRESS/LEN`; a link's name may hold anything but `/`, an address no `=`.
fn added(value: &str) -> Result<Supposition, String> {
    let (link, network) = split(value, "ens6=10.0.1.9/24")?;
    let Some((address, len)) = network.split_once('/') else {
        return Err(format!("`{network}` has no length: write it as 10.0.1.9/24"));
    };
    let len = len.parse().map_err(|_| format!("`{len}` is no length of a prefix"))?;
    Ok(Supposition::AddAddress { link, address: ip(address)?, len })
}

fn deleted(value: &str) -> Result<Supposition, String> {
    let (link, address) = split(value, "ens6=10.0.1.9")?;
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    Ok(Supposition::DelAddress { link, address: ip(address)? })
}

fn route(value: &str) -> Result<Supposition, String> {
    let (what, words) = value.trim().split_once(' ').unwrap_or((value, ""));
    let read = || words.parse().map_err(|e| told(&e));
    match what {
        "add" => Ok(Supposition::AddRoute(read()?)),
        "del" | "delete" => Ok(Supposition::DelRoute(read()?)),
        _ => Err(format!("it begins with `{what}`: write `add ROUTE` or `del ROUTE`")),
    }
}

fn told(e: &multihome_core::suppose::Impossible) -> String {
    // The parser of the command line says what was typed before it, and that is long.
    format!("\n{}", words::message("  ", &format!("{e}: {}", e.remedy)).trim_end())
}

fn split<'a>(value: &'a str, example: &str) -> Result<(String, &'a str), String> {
    match value.rsplit_once('=') {
        Some((link, rest)) if !link.is_empty() => Ok((link.to_owned(), rest)),
        _ => Err(format!("it does not say which link: write it as {example}")),
    }
}

fn ip(address: &str) -> Result<IpAddr, String> {
    address.parse().map_err(|_| format!("`{address}` is no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::what_if;

    fn parse(arguments: &[&str]) -> Result<Vec<String>, String> {
        let command = Supposed::augment_args(Command::new("what-if"));
        let all = ["what-if"].iter().chain(arguments);
        let matches = command.try_get_matches_from(all).map_err(|e| e.to_string())?;
        let supposed = Supposed::from_arg_matches(&matches).map_err(|e| e.to_string())?;
        Ok(supposed.0.iter().map(|s| what_if::supposed(s, &[], true)).collect())
    }

    #[test]
    fn they_count_in_the_order_in_which_they_were_typed() {
        let got = parse(&[
            "--add-address",
            "ens6=10.0.1.9/24",
            "--link-down",
            "ens5",
            "--route",
            "add default via 10.0.1.1",
            "--link-down=ens6",
            "--del-address",
            "ens6=2001:db8::1/64",
        ]);
        assert_eq!(
            got.unwrap(),
            [
                "ens6 has 10.0.1.9/24",
                "ens5 is down",
                "route added: default via 10.0.1.1",
                "ens6 is down",
                "ens6 has lost 2001:db8::1",
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_named_with_the_remedy() {
        for (arguments, words) in [
            (["--add-address", "10.0.0.1/24"], "write it as ens6=10.0.1.9/24"),
            (["--add-address", "ens6=10.0.0.1"], "has no length"),
            (["--add-address", "ens6=10.0.0/24"], "`10.0.0` is no address"),
            (["--route", "default"], "write `add ROUTE` or `del ROUTE`"),
            (["--route", "add default vai 10.0.0.1"], "known are via, dev"),
        ] {
            let error = parse(&arguments).unwrap_err();
            let error = error.replace("\n  ", " ");
            assert!(error.contains(words), "{error}");
        }
    }
}
