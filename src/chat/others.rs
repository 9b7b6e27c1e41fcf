use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Chat, Signal};
use crate::{
    bus::{Heard, Outbox, Word},
    lifecycle::Lifecycle,
};

/// How many signals of other nodes may wait to be passed on before more are lost.
const WAITING: usize = 4_096;

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
