//! Before a prompt goes out: the versions of this executable and of the hive that answers must fit.

use kube::{Api, Client};
use rbee_crds::Hive;

use crate::error::Error;

/// Refuses a hive of another MAJOR.MINOR. A hive that says no version, or cannot be read, is taken.
///
/// # Errors
/// VERSION_MISMATCH, with both versions and what to upgrade.
pub(crate) async fn check(client: &Client, hive: &str, own: &str) -> Result<(), Error> {
    let hives: Api<Hive> = Api::all(client.clone());
    let found = hives.get_opt(hive).await.ok().flatten();
    match found.and_then(|h| h.status?.version).and_then(|theirs| mismatch(own, hive, &theirs)) {
        Some(why) => Err(Error::failed(why)),
        None => Ok(()),
    }
}

/// Why the two do not fit, if they do not.
fn mismatch(own: &str, hive: &str, theirs: &str) -> Option<String> {
    let (mine, other) = (major_minor(own)?, major_minor(theirs)?);
    let advice = match mine.cmp(&other) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Less => "this executable is the older: install the hive's version here".to_owned(),
        std::cmp::Ordering::Greater => {
            format!("the hive is the older: install rbee {own} there and start `rbee hive` again")
        }
    };
    Some(format!("VERSION_MISMATCH: this is rbee {own}, hive {hive} runs {theirs}; {advice}"))
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_minor_version_is_refused_with_both_and_the_older_named() {
        let older = mismatch("0.2.0", "mac", "0.1.9").unwrap();
        assert!(
            older.contains("0.2.0") && older.contains("0.1.9") && older.contains("the hive is the older"),
            "{older}"
        );
        assert!(mismatch("0.1.0", "mac", "1.1.0").unwrap().contains("this executable is the older"));
        assert_eq!(mismatch("0.1.0", "mac", "0.1.7"), None);
        assert_eq!(mismatch("0.1.0", "mac", "unknown"), None);
    }
}
