#![doc = include_str!("README.md")]

mod address_book;
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

use crate::web::AppContext;

/// All routes of the dialect.
pub fn api(app: &AppContext) -> impl OpenApi + use<> {
    (
        sessions::ImChatSessionsApi(app.clone()),
        address_book::AddressBookApi(app.clone()),
        messages::ImChatMessagesApi(app.clone()),
        picture::PicturesApi(app.clone()),
        bus::BusApi(app.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Odoo 8's chat and its address-book extension under `/im_chat`, and the bus (long polling) under `/longpolling`.
    #[oai(rename = "im_chat")]
    ImChat,
}
