//! The fence between a leader and her writes: who is not the leader any more writes nothing.

use tokio::{sync::watch, time::Instant};

/// A term of leadership as far as it is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    pub epoch: i64,
    /// Until then nobody else can have taken over.
    pub until: Instant,
}

/// Lets the writes of one term pass.
#[derive(Clone)]
pub struct Fence {
    epoch: i64,
    lead: watch::Receiver<Option<Lead>>,
}

/// The writer does not lead any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the leader lease of epoch {epoch} has run out: another queen may lead, so nothing is written")]
pub struct Deposed {
    epoch: i64,
}

impl Fence {
    pub fn new(epoch: i64, lead: watch::Receiver<Option<Lead>>) -> Self {
        Self { epoch, lead }
    }

    /// Passes while the term lasts. A process that was stopped for a while learns it here, before its next write.
    ///
    /// # Errors
    /// [`Deposed`] once it is over.
    pub fn check(&self) -> Result<(), Deposed> {
        let lead = *self.lead.borrow();
        match lead {
            Some(lead) if lead.epoch == self.epoch && Instant::now() < lead.until => Ok(()),
            _ => Err(Deposed { epoch: self.epoch }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_after_the_lease_ran_out_or_in_another_epoch() {
        let lead = Lead { epoch: 3, until: Instant::now() + Duration::from_secs(13) };
        let (sender, receiver) = watch::channel(Some(lead));
        let fence = Fence::new(3, receiver.clone());
        assert_eq!(fence.check(), Ok(()));
        assert_eq!(Fence::new(2, receiver).check(), Err(Deposed { epoch: 2 }));
        tokio::time::advance(Duration::from_secs(13)).await;
        assert_eq!(fence.check(), Err(Deposed { epoch: 3 }));
        sender.send_replace(None);
        assert_eq!(fence.check(), Err(Deposed { epoch: 3 }));
    }
}
