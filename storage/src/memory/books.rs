use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use super::{Memory, MemoryTx};
use crate::{Books, PartnerId, Result, UserId, WriteBooks};

pub(super) type Table = OrdMap<UserId, OrdSet<UserId>>;

#[async_trait]
impl Books for Memory {
    async fn book(&self, owner: UserId) -> Result<Vec<UserId>> {
        Ok(self.snapshot()?.books.get(&owner).into_iter().flatten().copied().collect())
    }

    async fn known_by(&self, partner: PartnerId) -> Result<Vec<PartnerId>> {
        let state = self.snapshot()?;
        let Some(user) = state.users.person(partner).ok().and_then(|person| person.user) else { return Ok(Vec::new()) };
        let owners = state.books.iter().filter(|(_, book)| book.contains(&user)).map(|(owner, _)| *owner);
        let mut partners: Vec<_> = owners.filter_map(|owner| Some(state.users.user(owner)?.partner.id)).collect();
        partners.sort_unstable();
        Ok(partners)
    }
}

#[async_trait]
impl WriteBooks for MemoryTx {
    async fn insert_into_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()> {
        self.draft.users.expect_user(owner)?;
        let book = self.draft.books.entry(owner).or_default();
        for user in users {
            self.draft.users.expect_user(*user)?;
            book.insert(*user);
        }
        Ok(())
    }

    async fn delete_from_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()> {
        if let Some(book) = self.draft.books.get_mut(&owner) {
            for user in users {
                book.remove(user);
            }
        }
        Ok(())
    }
}
