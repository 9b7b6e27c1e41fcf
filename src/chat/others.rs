use std::{sync::Arc, time::Duration};

use storage::{Position, Scope};
use tokio::sync::mpsc;

use super::{Chat, Error, Result, Signal};
use crate::{
    bus::{Heard, Outbox, Word},
    lifecycle::Lifecycle,
};

/// How many signals of other nodes may wait to be passed on before more are lost.
const WAITING: usize = 4_096;
/// For how long a caller who comes from a node that is ahead waits for this one.
const PATIENCE: Duration = Duration::from_secs(3);

impl Chat {
    /// Starts to hear the other nodes, and to tell them.
    pub(super) fn hear_others(&self, outbox: Outbox<Signal>, lifecycle: &Lifecycle) {
        let (sender, mut signals) = mpsc::channel(WAITING);
        let (hub, announce) = (Arc::clone(&self.0.hub), self.0.announce.clone());
        outbox.run(lifecycle, move |heard| match heard {
            Heard::Word(Word::LogGrew(position)) if position <= hub.head() => {}
            Heard::Word(Word::LogGrew(_)) | Heard::Gap => announce.look(),
            // What is too much is lost, as signals may be.
            Heard::Word(Word::Signal(signal)) => drop(sender.try_send(signal)),
        });
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                let signal = tokio::select! {
                    signal = signals.recv() => signal,
                    () = stop.stopping() => None,
                };
                match signal {
                    Some(signal) => chat.pass_on(signal).await,
                    None => return,
                }
            }
        });
    }

    /// Waits until this node has told everything up to `position`, which somebody has been told by another node: to be
    /// told it again, under the same number or a smaller one, is what must not happen. What is beyond the end of the log
    /// is not waited for, since the log that it came from is gone.
    pub(super) async fn reach(&self, position: Position) -> Result<()> {
        if position <= self.0.hub.head() {
            return Ok(());
        }
        let end = position.min(self.visit("position", self.0.storage.position()).await?);
        let catching_up = async {
            let mut feed = self.follow(Scope::Everything, None);
            while self.0.hub.head() < end {
                self.0.announce.look();
                feed.next().await?;
            }
            Ok(())
        };
        let reached = tokio::time::timeout(PATIENCE, catching_up).await;
        reached.unwrap_or_else(|late| Err(Error::Unavailable(Arc::new(late))))
    }

    async fn pass_on(&self, signal: Signal) {
        match &signal {
            Signal::Typing { conversation, partner, typing, .. } => self.typing_elsewhere(*conversation, *partner, *typing),
            Signal::Presence { partner, .. } if self.doubt_presence(*partner) => return,
            Signal::Presence { .. } => {}
            Signal::Delivered { message, .. } if !self.0.hub.is_news(*message) => return,
            Signal::Delivered { .. } => {}
        }
        self.signal_here(signal).await;
    }
}
