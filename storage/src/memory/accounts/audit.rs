//! In-memory audit trail.

use async_trait::async_trait;
use imbl::OrdMap;

use crate::{
    Audit, AuditEntry, AuditFilter, NewAuditEntry, Result, Timestamp, WriteAudit,
    memory::{Memory, MemoryTx, Sequence},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) ids: Sequence,
    rows: OrdMap<i64, NewAuditEntry>,
}

impl Table {
    fn insert(&mut self, entry: &NewAuditEntry) {
        self.rows.insert(self.ids.draw(None), entry.clone());
    }
}

#[async_trait]
impl Audit for Memory {
    async fn audit(&self, entries: &[NewAuditEntry]) -> Result<()> {
        let mut tx = self.draft().await?;
        entries.iter().for_each(|entry| tx.draft.audit.insert(entry));
        tx.publish();
        Ok(())
    }

    async fn audit_entries(&self, filter: AuditFilter<'_>, limit: usize) -> Result<Vec<AuditEntry>> {
        let state = self.snapshot()?;
        let rows = state.audit.rows.range(..filter.before.unwrap_or(i64::MAX)).rev();
        let wanted = rows.filter(|(_, entry)| {
            filter.actor.is_none_or(|(kind, id)| entry.actor == kind && entry.actor_id.as_deref() == Some(id))
        });
        Ok(wanted.take(limit).map(|(id, entry)| AuditEntry { id: *id, entry: entry.clone() }).collect())
    }

    async fn forget_audit(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let rows = &mut tx.draft.audit.rows;
        let mut old: Vec<_> = rows.iter().filter(|(_, entry)| entry.at < before).map(|(id, entry)| (entry.at, *id)).collect();
        old.sort_unstable();
        old.truncate(limit);
        for (_, id) in &old {
            rows.remove(id);
        }
        tx.publish();
        Ok(old.len() as u64)
    }
}

#[async_trait]
impl WriteAudit for MemoryTx {
    async fn insert_audit(&mut self, entry: &NewAuditEntry) -> Result<()> {
        self.draft.audit.insert(entry);
        Ok(())
    }
}
