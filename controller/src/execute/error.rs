//! Why a plan was not carried out, and how soon to try again.

use std::time::Duration;

use super::Deposed;
use crate::{observe::Behind, plan::Target};

/// A plan that was carried out in part or not at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not {action} {target}")]
    Api {
        action: &'static str,
        target: String,
        #[source]
        source: kube::Error,
    },
    #[error(transparent)]
    Deposed(#[from] Deposed),
    #[error(transparent)]
    Behind(#[from] Behind),
}

impl Error {
    pub(super) fn api(action: &'static str, target: &Target, source: kube::Error) -> Self {
        Self::Api { action, target: target.key(), source }
    }

    /// Whether somebody else wrote first: nothing is wrong, and planning again tells what to do.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 409)
    }

    /// How long to wait before the next try, after `failures` in a row: 100 ms doubling to 30 s for conflicts and 1 s doubling
    /// to 60 s for everything else.
    pub fn retry_after(&self, failures: u32) -> Duration {
        let (first, most) = if self.is_conflict() { (100, 30_000) } else { (1_000, 60_000) };
        Duration::from_millis((first << failures.saturating_sub(1).min(16)).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_tried_again_soon_and_nothing_is_tried_without_end_at_once() {
        let api = |code| Error::Api {
            action: "delete",
            target: "default/a".into(),
            source: kube::Error::Api(Box::new(kube::core::Status { code, ..Default::default() })),
        };
        assert_eq!(api(409).retry_after(1), Duration::from_millis(100));
        assert_eq!(api(409).retry_after(40), Duration::from_secs(30));
        assert_eq!(api(500).retry_after(1), Duration::from_secs(1));
        assert_eq!(api(500).retry_after(u32::MAX), Duration::from_secs(60));
    }
}
