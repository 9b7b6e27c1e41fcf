//! Tests of groups of users.

use std::sync::Arc;

use storage::{Group, GroupId, Storage, UserChange, UserId};

use crate::people::{conflict, users, write};

on_every_backend!(groups_are_listed_by_id, a_group_name_is_taken_once, members_are_listed_by_uid, members_are_taken_out);

async fn groups_are_listed_by_id(store: Arc<dyn Storage>) {
    assert_eq!(store.groups().await.unwrap(), []);
    let (news, low, next) = write(&store, async |tx| {
        let news = tx.insert_group(Some(GroupId(30)), "News").await.unwrap();
        let low = tx.insert_group(Some(GroupId(2)), "Größe 大").await.unwrap();
        (news, low, tx.insert_group(None, "news").await.unwrap())
    })
    .await;
    assert_eq!(news, Group { id: GroupId(30), name: "News".to_owned() });
    assert!(next.id > news.id, "an explicit id moves the sequence, and never back");
    assert_eq!(store.group(low.id).await.unwrap().as_ref(), Some(&low));
    assert_eq!(store.group(GroupId(1_000)).await.unwrap(), None);
    assert_eq!(store.group_by_name("News").await.unwrap().as_ref(), Some(&news), "and not news");
    assert_eq!(store.group_by_name("NEWS").await.unwrap(), None);
    assert_eq!(store.groups().await.unwrap(), [low, news, next]);
}

async fn a_group_name_is_taken_once(store: Arc<dyn Storage>) {
    let news = write(&store, async |tx| tx.insert_group(None, "News").await.unwrap()).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_group(None, "News").await), "groups_name");
    drop(tx);
    assert_eq!(store.groups().await.unwrap(), [news]);
}

async fn members_are_listed_by_uid(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let (news, empty) = write(&store, async |tx| {
        let news = tx.insert_group(None, "News").await.unwrap().id;
        tx.insert_group_members(news, &[cat.id, ann.id]).await.unwrap();
        tx.insert_group_members(news, &[ann.id, ben.id]).await.unwrap();
        tx.update_user(ben.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap();
        (news, tx.insert_group(None, "Empty").await.unwrap().id)
    })
    .await;
    assert_eq!(store.group_members(news).await.unwrap(), [ann.id, ben.id, cat.id]);
    assert_eq!(store.group_members(empty).await.unwrap(), []);
    assert_eq!(store.group_members(GroupId(1_000)).await.unwrap(), []);
}

async fn members_are_taken_out(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let news = write(&store, async |tx| {
        let news = tx.insert_group(None, "News").await.unwrap().id;
        tx.insert_group_members(news, &[ann.id, ben.id]).await.unwrap();
        tx.delete_group_members(news, &[ann.id, UserId(1_000)]).await.unwrap();
        news
    })
    .await;
    assert_eq!(store.group_members(news).await.unwrap(), [ben.id]);
}
