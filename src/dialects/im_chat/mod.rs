//! The room of Odoo 8's `im_chat`, of its address-book extension, and of the bus that brings both their news (spec
//! `30-im-chat.md`): `/im_chat/...` and `/longpolling/...`.
//!
//! A conversation is called a session here, and known by its uuid; a window state is its state, a shelf its status.

mod book;
mod bus;
mod content;
mod error;
mod messages;
mod methods;
mod models;
mod notifications;
mod params;
mod picture;
mod sessions;
mod view;
mod wire;

use poem_openapi::{OpenApi, Tags};

pub use models::MODELS;

use super::House;

/// All routes of the room.
pub fn api(house: &House) -> impl OpenApi + use<> {
    (
        sessions::Sessions(house.clone()),
        book::Book(house.clone()),
        messages::Messages(house.clone()),
        picture::Pictures(house.clone()),
        bus::BusApi(house.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Odoo 8's chat and its address-book extension under `/im_chat`, and the bus under `/longpolling`.
    #[oai(rename = "im_chat")]
    ImChat,
}
