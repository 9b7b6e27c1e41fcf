//! Echo endpoint for the tests: a socket handler that repeats each message.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dragoman::{
    auth::Caller,
    blobs::Blobs,
    chat::{Chat, Dependencies, Rules},
    config::{self, Config},
    demo,
    events::FeedBatch,
    lifecycle::Lifecycle,
    metrics::Metrics,
    shares::{Charge, Shares, Sizes},
    web::websocket::{self, Frame, FramesOrClose, SocketHandler, SocketServer, SocketSession},
};
use poem::{Request, listener::TcpAcceptor};
use storage::{Storage, UserId, memory::Memory};
use tokio::net::TcpListener;

use crate::sockets::JOHN;

struct Repeating;

impl SocketHandler for Repeating {
    const DIALECT: &'static str = "echo";

    async fn on_open(&mut self) -> FramesOrClose {
        Ok(Vec::new())
    }

    async fn on_message(&mut self, text: &str, _: &mut Charge) -> FramesOrClose {
        Ok(vec![text.into()])
    }

    async fn on_events(&mut self, _: &FeedBatch) -> FramesOrClose {
        Ok(Vec::new())
    }

    async fn on_ping(&mut self) -> FramesOrClose {
        Ok(Vec::new())
    }

    fn on_binary(&self) -> Frame {
        "not text".into()
    }
}

/// A server with the echo endpoint alone.
pub struct Echo {
    address: SocketAddr,
    lifecycle: Lifecycle,
}

impl Echo {
    pub async fn start() -> Self {
        let lifecycle = Lifecycle::default();
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        demo::load(storage.as_ref()).await.expect("the store is empty");
        let john = storage.user(UserId(JOHN)).await.expect("the store can be read").expect("he is in the demo data");
        let caller = Caller::of(john);
        let config = Config::load_defaults().expect("the defaults are as they should be");
        let blobs = Blobs::open("memory:", &lifecycle).expect("memory can always be opened");
        let metrics = Metrics::default();
        let ground = Dependencies {
            storage,
            blobs,
            bus: None,
            observers: Vec::new(),
            commits: dragoman::events::publisher().1,
            metrics: metrics.clone(),
            services: lifecycle.clone(),
            requests: lifecycle.clone(),
        };
        let chat = Chat::start(ground, Rules { sockets_per_user: 1_000, ..config.rules() }).await;
        let chat = chat.expect("the store can be read");
        // No limits: these cases test the protocol only.
        let limits = config::SocketSettings {
            message_bytes: 64 * 1024 * 1024,
            frames_burst: u32::MAX,
            queued_frames: usize::MAX,
            queued_bytes: usize::MAX,
            ..config.sockets
        };
        let sizes = Sizes { bodies_bytes: 0, answers_bytes: 0, requests_per_user: 0, requests_per_address: 0 };
        let shares = Shares::new(sizes, &metrics);
        let sockets = SocketServer::new(&chat, &limits, &shares, &metrics, &lifecycle);
        let endpoint = poem::endpoint::make_sync(move |request: Request| {
            let (feed, caller) = (chat.subscribe_caller(&caller), caller.clone());
            websocket::open(&request, None, &sockets, async move { Ok(SocketSession { handler: Repeating, feed, caller }) })
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let acceptor = TcpAcceptor::from_tokio(listener).expect("it is a listener");
        let stop = lifecycle.clone();
        lifecycle.spawn(async move {
            let server = poem::Server::new_with_acceptor(acceptor);
            let ends = async move { stop.stopping().await };
            server.run_with_graceful_shutdown(endpoint, ends, None).await.expect("it serves");
        });
        Self { address, lifecycle }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub async fn stop(self) {
        self.lifecycle.stop();
        self.lifecycle.finished(Duration::from_secs(10)).await;
    }
}
