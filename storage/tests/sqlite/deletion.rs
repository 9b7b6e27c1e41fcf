//! Tests of deletion: after a checkpoint no byte of the files holds what was deleted.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use sqlx::Executor;
use storage::{EventLog, Fact, Message, Storage, Topic, Users};

use crate::people::{Dice, at, delete, lock, say, write};
use crate::{Room, connect, expect_intact, shared};

const TEXTS: usize = 300;
/// Lengths of texts: several on a page of the file, and one on several pages.
const LENGTHS: [usize; 6] = [22, 300, 1_500, 4_000, 9_000, 60_000];
/// Beginning of each text.
const MARK: &[u8] = b"text";
/// Digits of a text's number, after the mark.
const DIGITS: usize = 6;

/// A text that tells its number again and again.
fn text(number: usize, length: usize) -> String {
    let told = format!("text{number:06};");
    told.repeat(length / told.len())
}

/// All bytes of the files. Read by another process: to open and close a file here would release SQLite's locks on it.
fn bytes(path: &Path) -> Vec<u8> {
    let files = ["", "-wal", "-shm"].map(|suffix| format!("{}{suffix}", path.display()));
    Command::new("cat").args(files).output().unwrap().stdout
}

/// Numbers of the texts of which the files hold any piece.
fn texts_in(path: &Path) -> BTreeSet<usize> {
    let bytes = bytes(path);
    let number = |found: &[u8]| std::str::from_utf8(&found[MARK.len()..]).ok()?.parse().ok();
    bytes.windows(MARK.len() + DIGITS).filter(|found| found.starts_with(MARK)).filter_map(number).collect()
}

async fn edit(room: &Room, message: &Message, body: &str) {
    write(&shared(&room.store), async |tx| {
        let of = lock(tx, room.room).await;
        let edited = tx.edit_message(&of[0], message.id, body, room.ann.partner.id, at(9)).await.unwrap().unwrap();
        tx.record(Topic::Conversation(room.room), Fact::MessageEdited(edited), at(9));
    })
    .await;
}

#[tokio::test]
async fn no_byte_of_what_was_deleted_is_left() {
    let room = Room::new().await;
    let store = shared(&room.store);
    let (mut dice, mut kept, mut gone) = (Dice::new(4), Vec::new(), BTreeSet::new());
    for number in 1..=TEXTS {
        let said = text(number, LENGTHS[dice.roll(LENGTHS.len())]);
        match dice.roll(4) {
            0 if !kept.is_empty() => {
                let (former, message) = kept.swap_remove(dice.roll(kept.len()));
                edit(&room, &message, &said).await;
                gone.insert(former);
                kept.push((number, message));
            }
            1 if !kept.is_empty() => {
                let (former, message) = kept.swap_remove(dice.roll(kept.len()));
                delete(&store, &message).await;
                gone.insert(former);
            }
            _ => kept.push((number, say(&store, room.room, &room.ann, &said).await)),
        }
    }
    assert!(!gone.is_disjoint(&texts_in(&room.path)), "the write-ahead log still holds some");
    store.checkpoint().await.unwrap();
    assert_eq!(texts_in(&room.path), kept.iter().map(|(number, _)| *number).collect());

    for (_, message) in &kept {
        delete(&store, message).await;
    }
    store.checkpoint().await.unwrap();
    assert_eq!(texts_in(&room.path), BTreeSet::new());
    expect_intact(&room.path).await;
}

#[tokio::test]
async fn no_byte_of_a_forgotten_event_is_left() {
    let room = Room::new().await;
    for number in 1..=TEXTS {
        let told = Fact::DeviceConnected { device: text(number, LENGTHS[number % LENGTHS.len()]), connection: String::new() };
        write(&shared(&room.store), async |tx| tx.record(Topic::Partner(room.ann.partner.id), told, at(0))).await;
    }
    room.store.checkpoint().await.unwrap();
    assert_eq!(texts_in(&room.path), (1..=TEXTS).collect());
    room.store.forget_events(at(1), TEXTS).await.unwrap();
    room.store.checkpoint().await.unwrap();
    assert_eq!(texts_in(&room.path), BTreeSet::new());
}

/// A new name, as a script gives it.
#[tokio::test]
async fn no_byte_of_a_former_name_is_left_in_the_index() {
    let room = Room::new().await;
    let rename = async |name: &str| {
        let mut file = connect(&room.path).await;
        file.execute("PRAGMA secure_delete = ON").await.unwrap();
        sqlx::query("UPDATE partners SET name = $1").bind(name).execute(&mut file).await.unwrap();
        assert_eq!(room.store.fold_people(9).await.unwrap(), 1);
        room.store.checkpoint().await.unwrap();
    };
    let holds = |text: &str| bytes(&room.path).windows(text.len()).any(|found| found == text.as_bytes());
    rename("Ξψω").await;
    assert!(holds("Ξψω") && holds("ξψω"), "the name and its folded form");
    rename("Zoë").await;
    assert!(!holds("Ξψω") && !holds("ξψω"));
    assert_eq!(
        room.store.search_people("oë", 9).await.unwrap().len() + room.store.search_people("zoë", 9).await.unwrap().len(),
        2
    );
    expect_intact(&room.path).await;
}
