//! What every store does, and what only some do. A new store gets a
//! [`Fixture`] and a line below.

use tempfile::TempDir;
use windlass::store::Store;
use windlass::store::memory::MemoryStore;
use windlass::store::postgres::PostgresStore;
use windlass::store::sqlite::SqliteStore;

use crate::support::Postgres;

mod authorities;
mod kept;
pub(crate) mod kubernetes;
mod persistent;
mod replicas;
pub(crate) mod samples;
mod sqlite;
mod writes;

/// Opens stores of one kind. What is opened later sees what was opened before
/// where the kind is persistent, and starts from nothing where it is not.
trait Fixture: Default {
    type Store: Store;
    async fn open(&self) -> Self::Store;
}

#[derive(Default)]
struct Memory;

impl Fixture for Memory {
    type Store = MemoryStore;

    async fn open(&self) -> MemoryStore {
        MemoryStore::new()
    }
}

struct Sqlite(TempDir);

impl Default for Sqlite {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Fixture for Sqlite {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        let path = self.0.path().join("state/windlass.db");
        SqliteStore::open(&path).await.unwrap()
    }
}

struct InPostgres(Postgres);

impl Default for InPostgres {
    fn default() -> Self {
        Self(Postgres::start())
    }
}

impl Fixture for InPostgres {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.0.config()).await.unwrap()
    }
}

macro_rules! behaviours {
    ($fixture:ty: $($room:ident::$behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let fixture = <$fixture>::default();
                super::$room::$behaviour(async || super::Fixture::open(&fixture).await).await;
            }
        )*
    };
}

macro_rules! contract {
    ($fixture:ty) => {
        behaviours! { $fixture:
            writes::a_mesh_is_created_updated_and_deleted
            writes::every_kind_of_resource_comes_back_as_it_was_written
            writes::a_write_to_a_stale_generation_conflicts
            writes::of_several_writers_to_one_mesh_exactly_one_wins
            writes::writers_to_different_meshes_all_win
            writes::changes_since_names_what_was_written_and_what_is_gone
            writes::a_refused_write_leaves_nothing
            writes::what_is_done_twice_is_done_once
            writes::a_large_write_is_kept_whole
            writes::what_did_not_change_is_shared
            writes::a_dropped_call_leaves_a_whole_store
            authorities::a_revoked_authority_loses_its_key
            authorities::a_forgotten_authority_can_be_added_again
            authorities::a_mesh_goes_with_its_authorities_keys_and_evidence
            authorities::meshes_that_share_a_certificate_have_a_key_each
            authorities::an_authority_is_kept_while_a_proxy_holds_its_leaf
            authorities::a_step_waits_for_the_evidence_in_the_store
            authorities::a_mesh_does_not_become_plaintext_unannounced
            kept::of_several_secrets_of_one_name_all_get_the_first
            kept::secrets_are_found_by_prefix_and_forgotten
            kept::evidence_is_replaced_and_goes_with_its_dataplane
            kept::evidence_of_many_proxies_is_kept_as_it_is
            kept::the_history_is_told_newest_first
            kept::the_state_of_a_source_is_kept
            replicas::every_replica_keeps_what_it_knows
            replicas::what_is_sealed_is_sealed_anew_once
            replicas::one_leads_at_a_time
            replicas::replicas_see_each_other
            replicas::what_is_written_is_news
            replicas::the_history_is_read_in_pages
        }
    };
}

macro_rules! persistent {
    ($fixture:ty) => {
        behaviours! { $fixture:
            persistent::a_store_that_is_opened_again_is_the_same
            persistent::how_a_mesh_stands_is_kept
            persistent::what_was_written_is_what_another_one_reads
            persistent::two_that_share_a_store_see_each_other
            persistent::compare_and_set_holds_between_two_that_share_a_store
        }
    };
}

mod in_memory {
    contract!(super::Memory);
}

mod in_sqlite {
    contract!(super::Sqlite);
    persistent!(super::Sqlite);
}

mod in_postgres {
    contract!(super::InPostgres);
    persistent!(super::InPostgres);
}

mod in_kubernetes {
    contract!(super::kubernetes::Kubernetes);
    persistent!(super::kubernetes::Kubernetes);
}
