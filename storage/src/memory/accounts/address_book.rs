//! In-memory address books.

use std::collections::BTreeSet;

use async_trait::async_trait;
use imbl::{OrdMap, OrdSet};

use crate::{
    AddressBooks, PartnerId, Result, UserId, WriteAddressBooks,
    memory::{Memory, MemoryTx},
};

pub(crate) type Table = OrdMap<UserId, OrdSet<UserId>>;

#[async_trait]
impl AddressBooks for Memory {
    async fn address_book(&self, owner: UserId) -> Result<Vec<UserId>> {
        Ok(self.snapshot()?.books.get(&owner).into_iter().flatten().copied().collect())
    }

    async fn address_book_owners(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
        let state = self.snapshot()?;
        let known_by = |partner: PartnerId| {
            let user = state.users.person(partner).ok()?.user?;
            let owners = state.books.iter().filter(|(_, book)| book.contains(&user)).map(|(owner, _)| *owner);
            let mut owners: Vec<_> = owners.filter_map(|owner| Some(state.users.user(owner)?.partner.id)).collect();
            owners.sort_unstable();
            (!owners.is_empty()).then_some((partner, owners))
        };
        let partners: BTreeSet<_> = partners.iter().copied().collect();
        Ok(partners.into_iter().filter_map(known_by).collect())
    }
}

#[async_trait]
impl WriteAddressBooks for MemoryTx {
    async fn insert_into_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<usize> {
        self.draft.users.expect_user(owner)?;
        let book = self.draft.books.entry(owner).or_default();
        for user in users {
            self.draft.users.expect_user(*user)?;
            book.insert(*user);
        }
        Ok(book.len())
    }

    async fn delete_from_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()> {
        if let Some(book) = self.draft.books.get_mut(&owner) {
            for user in users {
                book.remove(user);
            }
        }
        Ok(())
    }
}
