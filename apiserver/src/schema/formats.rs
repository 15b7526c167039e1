//! String formats that CRD schemas validate (`date-time`, `uuid`, …), with go-openapi's rules.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::structural::{Structural, Type};

const STRING_FORMATS: [&str; 27] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "date-time",
    "k8s-short-name",
    "k8s-long-name",
];

/// The format if it is known for the node's type; Kubernetes ignores the others.
pub(crate) fn supported(format: &str, node: &Structural) -> Option<String> {
    let known = match node.kind {
        Some(Type::Integer) => matches!(format, "int32" | "int64"),
        Some(Type::Number) => matches!(format, "float" | "double"),
        None | Some(Type::String) => STRING_FORMATS.iter().any(|f| f.replace('-', "") == format.replace('-', "")),
        _ => false,
    };
    known.then(|| format.to_string())
}

/// Whether a string is of the format; unknown formats hold for every string.
pub(crate) fn matches(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "datetime" => is_date_time(text),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "uri" => is_request_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => MAC.is_match(text),
        "uuid" => UUID.is_match(text),
        "uuid3" => UUID.is_match(text) && uuid_version(text) == Some('3'),
        "uuid4" => UUID.is_match(text) && uuid_version(text) == Some('4') && uuid_variant(text),
        "uuid5" => UUID.is_match(text) && uuid_version(text) == Some('5') && uuid_variant(text),
        "byte" => BASE64.is_match(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "ssn" => SSN.is_match(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "k8sshortname" => text.len() <= 63 && SHORT_NAME.is_match(text),
        "k8slongname" => text.len() <= 253 && LONG_NAME.is_match(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "rgbcolor" => is_rgb(text),
        _ => true,
    }
}

macro_rules! pattern {
    ($name:ident, $source:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($source).expect("a pattern of this source"));
    };
}

pattern!(UUID, r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$");
pattern!(
    MAC,
    r"^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){7}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2,3})$"
);
pattern!(BASE64, r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$");
pattern!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(SSN, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
pattern!(SHORT_NAME, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
pattern!(LONG_NAME, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$");
pattern!(
    HOSTNAME,
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
);
pattern!(TIME, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$");
pattern!(WORDY_DURATION, r"([0-9]+)\s*([A-Za-zµ]+)");
pattern!(
    GO_DURATION,
    r"^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*)$"
);
pattern!(
    CREDIT_CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);
pattern!(RGB, r"^rgb\(\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*\)$");

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let Some(found) = TIME.captures(time) else { return false };
    is_date(date) && &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59"
}

fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 12] = ["ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "hr", "wk", "sec"];
    const LONG: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    if GO_DURATION.is_match(text) {
        return true;
    }
    WORDY_DURATION.captures_iter(text).any(|found| {
        let unit = found[2].to_lowercase();
        UNITS.contains(&unit.as_str()) || LONG.iter().any(|l| unit.starts_with(l))
    })
}

fn is_request_uri(text: &str) -> bool {
    if text.is_empty() || text.chars().any(char::is_control) {
        return false;
    }
    if text.starts_with('/') || text == "*" {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut letters = scheme.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !rest.is_empty()
        && !rest.contains(' ')
}

fn is_email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.ends_with('>')) {
        (Some(start), true) => &text[start + 1..text.len() - 1],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c));
    local.split('.').all(atom) && domain.split('.').all(atom)
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|p| p.len() <= 63) && HOSTNAME.is_match(text)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && bits <= 32) || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn uuid_version(text: &str) -> Option<char> {
    text.chars().filter(|c| *c != '-').nth(12)
}

fn uuid_variant(text: &str) -> bool {
    text.chars().filter(|c| *c != '-').nth(16).is_some_and(|c| "89abAB".contains(c))
}

fn digits(text: &str) -> Vec<char> {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits(text);
    let value = |i: usize, c: &char| match c {
        'X' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let weighted: Option<u32> =
        digits.iter().enumerate().map(|(i, c)| Some(value(i, c)? * (10 - i.min(9) as u32))).sum();
    digits.len() == 10 && weighted.is_some_and(|sum| sum % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits(text);
    let weighted: Option<u32> =
        digits.iter().enumerate().map(|(i, c)| Some(c.to_digit(10)? * if i % 2 == 0 { 1 } else { 3 })).sum();
    digits.len() == 13 && weighted.is_some_and(|sum| sum % 10 == 0)
}

fn is_credit_card(text: &str) -> bool {
    let plain: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = plain.chars().rev().filter_map(|c| c.to_digit(10)).enumerate().fold(0, |sum, (i, d)| {
        let doubled = d * 2;
        sum + if i % 2 == 0 { d } else { doubled / 10 + doubled % 10 }
    });
    CREDIT_CARD.is_match(&plain) && sum.is_multiple_of(10)
}

fn is_rgb(text: &str) -> bool {
    RGB.captures(text).is_some_and(|found| (1..=3).all(|i| found[i].parse::<u16>().is_ok_and(|n| n <= 255)))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn formats_hold_and_do_not() {
        let cases = [
            ("date-time", "2001-02-03T04:05:06.5+02:00", true),
            ("date-time", "2001-02-03T04:05:06Z", true),
            ("date-time", "today", false),
            ("date-time", "2001-02-03", false),
            ("date-time", "2001-02-30T04:05:06Z", false),
            ("date", "2001-02-03", true),
            ("duration", "1h30m", true),
            ("duration", "5 days", true),
            ("duration", "x", false),
            ("uuid", "11111111-1111-4111-8111-111111111111", true),
            ("uuid3", "11111111-1111-4111-8111-111111111111", false),
            ("uri", "https://example.com/x", true),
            ("uri", "example", false),
            ("ipv4", "10.0.0.1", true),
            ("ipv4", "10.0.0", false),
            ("cidr", "10.0.0.0/8", true),
            ("byte", "aGk=", true),
            ("byte", "not base64!", false),
            ("hostname", "a.example.com", true),
            ("email", "a@b.c", true),
            ("email", "a", false),
            ("k8s-short-name", "a-b", true),
            ("k8s-short-name", "A", false),
            ("isbn", "978-0321751041", true),
            ("isbn10", "0321751043", true),
        ];
        for (format, text, want) in cases {
            assert_eq!(matches(format, text), want, "{format} {text}");
        }
    }
}
