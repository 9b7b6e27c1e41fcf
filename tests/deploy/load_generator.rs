//! Load generator over TLS through nginx, on two nodes.

use super::nginx::Nginx;
use crate::{
    load_generator::{BUSY, is_flawless, run_load},
    support::{Backend, Bus, two_nodes},
};

#[tokio::test]
async fn virtual_users_come_through_nginx_over_tls() {
    let mut nodes = two_nodes(&Backend::postgres().await, &Bus::postgres()).await;
    let nginx = Nginx::before(nodes.each_ref().map(|node| node.address())).await;
    let arguments = format!("--demo {BUSY} --ca-file {}", nginx.certificate().display());
    is_flawless(&run_load(&nginx.url_over_tls(""), &arguments).await);
    drop(nginx);
    for node in &mut nodes {
        node.stop().await;
    }
}
