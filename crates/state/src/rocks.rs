//! The engines of one task in RocksDB: one database a task, a column family a store.
//!
//! The write-ahead log is off, because the changelog is the log. Writes wait in the uncommitted buffer, a sorted map over
//! RocksDB that reads and scans merge, until a commit writes them in one batch together with the changelog offsets that they
//! reach; the database is opened with `atomic_flush`, so that after a crash all column families and the offsets are those of
//! one commit. What was not flushed by then is restored from there on.
//!
//! The default column family holds `format` (4 bytes, the version of this layout) and, for each store, `offset:STORE` (8
//! bytes, the changelog offset behind the last change written). Numbers are big-endian.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction, FlushOptions,
    IteratorMode, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};
use tidewater_types::Offset;

use crate::backend::StoreWrites;
use crate::{Backend, Engine, KeyRange, StateError, StoreSpec, Visit};

/// Version of the layout described above.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
/// Bits a key that the Bloom filters of table files take.
const BLOOM_BITS: f64 = 10.0;
/// The part of a memtable that its Bloom filter takes. It is reserved at once, and counts against the common budget.
const MEMTABLE_BLOOM_RATIO: f64 = 0.05;
/// The largest memtable of a store.
const MEMTABLE_BYTES: usize = 16 << 20;
/// The largest memtable of the default column family, which holds a few offsets.
const OFFSETS_MEMTABLE_BYTES: usize = 256 << 10;
/// Memory of an entry of the uncommitted buffer beyond its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// All memory that RocksDB takes in this process: one block cache, and one budget for memtables, which counts against it.
#[derive(Clone)]
pub struct RocksMemory {
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl std::fmt::Debug for RocksMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksMemory").field("used_bytes", &self.cache.get_usage()).finish_non_exhaustive()
    }
}

impl RocksMemory {
    /// A budget of this many bytes, half of it at most for memtables.
    pub fn new(bytes: usize) -> Self {
        let cache = Cache::new_lru_cache(bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, cache.clone());
        RocksMemory { cache, write_buffers }
    }
}

/// The database of one task.
pub struct RocksBackend {
    folder: PathBuf,
    db: Arc<DB>,
}

fn failed(store: &str, action: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
    let store = store.to_owned();
    move |error| StateError::Engine { store, action, reason: error.into_string() }
}

impl RocksBackend {
    /// Opens the database in a task's folder, with a column family for each of the stores.
    ///
    /// # Errors
    /// When the folder is of a newer format, or RocksDB refuses.
    pub fn open(folder: &Path, stores: &[&str], memory: &RocksMemory) -> Result<Self, StateError> {
        let name = folder.display().to_string();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_write_buffer_manager(&memory.write_buffers);
        options.set_keep_log_file_num(2);
        let mut families: Vec<String> = DB::list_cf(&options, folder).unwrap_or_default();
        families.push("default".to_owned());
        families.extend(stores.iter().map(|&store| store.to_owned()));
        families.sort();
        families.dedup();
        let families = families.into_iter().map(|family| {
            let options = family_options(&family, memory);
            ColumnFamilyDescriptor::new(family, options)
        });
        let db = DB::open_cf_descriptors(&options, folder, families).map_err(failed(&name, "open"))?;
        let found = db.get(FORMAT_KEY).map_err(failed(&name, "read"))?;
        match found.as_deref().map(<[u8; 4]>::try_from) {
            None => {
                db.put_opt(FORMAT_KEY, FORMAT.to_be_bytes(), &without_log()).map_err(failed(&name, "write"))?;
            }
            Some(Ok(raw)) if u32::from_be_bytes(raw) <= FORMAT => {}
            Some(raw) => {
                let found = raw.map_or(u32::MAX, u32::from_be_bytes);
                return Err(StateError::NewerFormat { folder: name, found, known: FORMAT });
            }
        }
        Ok(RocksBackend { folder: folder.to_owned(), db: Arc::new(db) })
    }

    fn name(&self) -> String {
        self.folder.display().to_string()
    }
}

fn family_options(family: &str, memory: &RocksMemory) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    if family == "default" {
        options.set_write_buffer_size(OFFSETS_MEMTABLE_BYTES);
    } else {
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    }
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn offset_key(store: &str) -> Vec<u8> {
    [b"offset:", store.as_bytes()].concat()
}

fn family<'a>(db: &'a DB, store: &str) -> Result<&'a ColumnFamily, StateError> {
    db.cf_handle(store).ok_or_else(|| StateError::Engine {
        store: store.to_owned(),
        action: "find",
        reason: "the database was opened without this store".to_owned(),
    })
}

impl Backend for RocksBackend {
    fn open(&mut self, spec: &StoreSpec) -> Result<Box<dyn Engine>, StateError> {
        if spec.in_memory {
            return Ok(Box::new(crate::MemoryEngine::default()));
        }
        family(&self.db, &spec.name)?;
        Ok(Box::new(RocksEngine {
            db: self.db.clone(),
            store: spec.name.clone(),
            uncommitted: BTreeMap::new(),
            bytes: 0,
        }))
    }

    fn commit(&mut self, writes: Vec<StoreWrites>, offsets: &BTreeMap<String, Offset>) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        for (store, writes) in writes {
            let family = family(&self.db, &store)?;
            for (key, value) in writes {
                match value {
                    Some(value) => batch.put_cf(family, key, value),
                    None => batch.delete_cf(family, key),
                }
            }
        }
        for (store, offset) in offsets {
            batch.put(offset_key(store), offset.0.to_be_bytes());
        }
        self.db.write_opt(batch, &without_log()).map_err(failed(&self.name(), "commit to"))
    }

    fn offset(&self, store: &str) -> Result<Option<Offset>, StateError> {
        let raw = self.db.get(offset_key(store)).map_err(failed(store, "read the offset of"))?;
        let Some(raw) = raw else { return Ok(None) };
        let eight = <[u8; 8]>::try_from(raw.as_slice());
        let eight = eight.map_err(|_| StateError::Malformed { store: store.to_owned(), length: raw.len() })?;
        Ok(Some(Offset(i64::from_be_bytes(eight))))
    }

    fn close(&mut self) -> Result<(), StateError> {
        let names = DB::list_cf(&Options::default(), &self.folder).map_err(failed(&self.name(), "list"))?;
        let families: Vec<&ColumnFamily> = names.iter().filter_map(|name| self.db.cf_handle(name)).collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed(&self.name(), "flush"))
    }
}

/// One column family with its uncommitted buffer.
struct RocksEngine {
    db: Arc<DB>,
    store: String,
    uncommitted: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Engine for RocksEngine {
    fn get(&self, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool, StateError> {
        if let Some(waiting) = self.uncommitted.get(key) {
            if let Some(value) = waiting {
                read(value);
            }
            return Ok(waiting.is_some());
        }
        let found = self.db.get_pinned_cf(family(&self.db, &self.store)?, key).map_err(failed(&self.store, "read"))?;
        if let Some(value) = &found {
            read(value);
        }
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let length = value.map_or(0, <[u8]>::len);
        match self.uncommitted.get_mut(key) {
            Some(waiting) => {
                self.bytes = self.bytes + length - waiting.as_ref().map_or(0, Vec::len);
                *waiting = value.map(<[u8]>::to_vec);
            }
            None => {
                self.bytes += key.len() + length + ENTRY_OVERHEAD_BYTES;
                self.uncommitted.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            }
        }
        Ok(())
    }

    fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let to = range.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let waiting = self.uncommitted.range::<[u8], _>((Bound::Included(range.from.as_slice()), to));
        let mut waiting: Box<dyn Iterator<Item = _>> =
            if reverse { Box::new(waiting.rev()) } else { Box::new(waiting) };
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.from.clone());
        if let Some(to) = &range.to {
            options.set_iterate_upper_bound(to.clone());
        }
        let mode = match (reverse, &range.to) {
            (false, _) => IteratorMode::From(&range.from, Direction::Forward),
            (true, _) => IteratorMode::End,
        };
        let mut stored = self.db.iterator_cf_opt(family(&self.db, &self.store)?, options, mode);
        let mut next_stored = || stored.next().transpose().map_err(failed(&self.store, "scan"));
        let (mut left, mut right) = (waiting.next(), next_stored()?);
        loop {
            let order = match (&left, &right) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((key, _)), Some((other, _))) => {
                    let order = key.as_slice().cmp(other);
                    if reverse { order.reverse() } else { order }
                }
            };
            // Where both have the key, what waits hides what is stored.
            let flow = if order.is_le() {
                let flow = match &left {
                    Some((key, Some(value))) => visit(key, value),
                    _ => ControlFlow::Continue(()),
                };
                left = waiting.next();
                if order.is_eq() {
                    right = next_stored()?;
                }
                flow
            } else {
                let flow = match &right {
                    Some((key, value)) => visit(key, value),
                    None => ControlFlow::Continue(()),
                };
                right = next_stored()?;
                flow
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    fn take_uncommitted(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        self.bytes = 0;
        std::mem::take(&mut self.uncommitted).into_iter().collect()
    }

    fn uncommitted_bytes(&self) -> usize {
        self.bytes
    }

    fn roll_back(&mut self) {
        self.bytes = 0;
        self.uncommitted.clear();
    }
}
