//! Tests of address books and pictures.

use std::sync::Arc;

use storage::{PartnerId, Picture, Storage, UserId};

use crate::people::{at, users, write};

on_every_backend!(a_book_is_its_owners_alone, nobody_unknown_gets_into_a_book, a_picture_replaces_the_one_before);

async fn a_book_is_its_owners_alone(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    write(&store, async |tx| {
        assert_eq!(tx.insert_into_address_book(ann.id, &[cat.id]).await.unwrap(), 1);
        assert_eq!(tx.insert_into_address_book(ann.id, &[ben.id, cat.id]).await.unwrap(), 2);
        assert_eq!(tx.insert_into_address_book(ben.id, &[]).await.unwrap(), 0, "it counts one book alone");
    })
    .await;
    assert_eq!(store.address_book(ann.id).await.unwrap(), [ben.id, cat.id]);
    write(&store, async |tx| assert_eq!(tx.insert_into_address_book(cat.id, &[ben.id]).await.unwrap(), 1)).await;
    let [anns, bens, cats] = [&ann, &ben, &cat].map(|user| user.partner.id);
    let mut known_by = store.address_book_owners(&[cats, anns, bens, bens, PartnerId(1_000)]).await.unwrap();
    known_by.sort_unstable();
    assert_eq!(known_by, [(bens, vec![anns, cats]), (cats, vec![anns])], "nobody has Ann in its book");
    assert_eq!(store.address_book_owners(&[]).await.unwrap(), []);
    assert_eq!(store.address_book(ben.id).await.unwrap(), []);
    write(&store, async |tx| tx.delete_from_address_book(ann.id, &[ben.id, ann.id, UserId(1_000)]).await.unwrap()).await;
    assert_eq!(store.address_book(ann.id).await.unwrap(), [cat.id]);
    write(&store, async |tx| tx.delete_from_address_book(cat.id, &[ann.id]).await.unwrap()).await;
    assert_eq!(store.address_book(UserId(1_000)).await.unwrap(), []);
}

async fn nobody_unknown_gets_into_a_book(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    for (owner, user) in [(ann.id, UserId(1_000)), (UserId(1_000), ann.id)] {
        let mut tx = store.begin().await.unwrap();
        assert!(tx.insert_into_address_book(owner, &[user]).await.is_err());
    }
    assert_eq!(store.address_book(ann.id).await.unwrap(), []);
}

async fn a_picture_replaces_the_one_before(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    assert_eq!(store.picture(ann.id).await.unwrap(), None);
    for (png, set_at) in [(b"\x89PNG\0first".as_slice(), at(1)), (b"second", at(2))] {
        write(&store, async |tx| tx.set_picture(ann.id, png, set_at).await.unwrap()).await;
        assert_eq!(store.picture(ann.id).await.unwrap(), Some(Picture { png: png.into(), set_at }));
    }
    assert_eq!(store.picture(ben.id).await.unwrap(), None);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.set_picture(UserId(1_000), b"nobody's", at(3)).await.is_err());
}
