//! Dates as dhclient writes them.

/// Seconds since 1970 of `2026/11/22` and `01:55:54`, in UTC.
pub(crate) fn seconds(date: &str, time: &str) -> Option<u64> {
    let [year, month, day] = numbers(date, '/')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(month, year)).contains(&day);
    // A leap second has the number 60.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let leap_days = |before: u64| before / 4 - before / 100 + before / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let months: u64 = (1..month).map(|m| days_of(m, year)).sum();
    let days = years + months + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let is_plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| is_plain)
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn days_of(month: u64, year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(seconds("1970/01/01", "00:00:00"), Some(0));
        assert_eq!(seconds("2026/11/22", "01:55:54"), Some(1_795_312_554));
        assert_eq!(seconds("2000/02/29", "23:59:59"), Some(951_868_799));
        assert_eq!(seconds("2100/03/01", "00:00:00"), Some(4_107_542_400));
        assert_eq!(seconds("9999/12/31", "23:59:60"), Some(253_402_300_800));
    }

    #[test]
    fn what_is_no_date() {
        for date in [
            "2026/02/29",
            "2100/02/29",
            "2026/13/01",
            "2026/00/01",
            "2026/01/00",
            "2026/04/31",
            "1969/12/31",
            "10000/01/01",
            "2026/11",
            "2026/11/22/1",
            "2026-11-22",
            "+2026/11/22",
            "",
        ] {
            assert_eq!(seconds(date, "00:00:00"), None, "{date}");
        }
        for time in ["24:00:00", "00:60:00", "00:00:61", "00:00", "", "99999999999999999999:0:0"] {
            assert_eq!(seconds("2026/11/22", time), None, "{time}");
        }
    }
}
