//! The engines of one task in RocksDB: one database a task, a column family a store.
//!
//! The write-ahead log is off, because the changelog is the log. Writes wait in the store's rows until they are written in
//! one batch together with the changelog offsets that they reach; the database is opened with `atomic_flush`, so that after a
//! crash all column families and the offsets are those of one commit. What was not flushed by then is restored from there on.
//!
//! The default column family holds `format` (4 bytes, the version of this layout) and, for each store, `offset:STORE` (8
//! bytes, the changelog offset behind the last change written) and `time:STORE` (8 bytes, the newest time of its entries, if
//! it has a retention). Numbers are big-endian. Entries past retention leave when RocksDB compacts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::properties::ESTIMATE_NUM_KEYS;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactionDecision, DB, DBCompressionType,
    FlushOptions, Options, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};
use tidewater_types::Offset;

use crate::backend::StoreWrites;
use crate::{Backend, Committed, Engine, KeyRange, NewestTime, StateError, StoreKind, StoreSpec, Visit};

/// Version of the layout described above.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";
/// The column family that every database has.
const OWN_FAMILY: &str = "default";
/// Bits a key that the Bloom filters of table files take.
const BLOOM_BITS: f64 = 10.0;
/// The part of a memtable that its Bloom filter takes. It is reserved at once, and counts against the common budget.
const MEMTABLE_BLOOM_RATIO: f64 = 0.05;
/// Levels of table files; all but the two first are compressed.
const LEVELS: usize = 7;
/// The largest memtable of a store.
const MEMTABLE_BYTES: usize = 16 << 20;
/// Entries that are brought into the processor's cache before they are copied.
const TOUCHED_ENTRIES: usize = 64;
/// A line of the processor's cache.
const LINE_BYTES: usize = 64;
/// The largest memtable of the default column family, which holds a few offsets.
const OFFSETS_MEMTABLE_BYTES: usize = 256 << 10;

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
        // Not the LRU cache: its many shards are smaller than some filter blocks, which then are read again and again.
        let cache = Cache::new_hyper_clock_cache(bytes, 0);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, cache.clone());
        RocksMemory { cache, write_buffers }
    }
}

/// The database of one task.
pub struct RocksBackend {
    folder: PathBuf,
    db: Arc<DB>,
    /// For each store with a retention the time before which compaction removes entries.
    dead_before: BTreeMap<String, Arc<AtomicI64>>,
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
    pub fn open(folder: &Path, stores: &[&StoreSpec], memory: &RocksMemory) -> Result<Self, StateError> {
        let name = folder.display().to_string();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        // With this, an insertion into a memtable begins where the batch's last one ended; the keys of a batch are sorted. What
        // it gives up is that a snapshot taken amid a write stays as it is, and only the task's thread writes.
        options.set_unordered_write(true);
        options.set_write_buffer_manager(&memory.write_buffers);
        options.set_keep_log_file_num(2);
        let mut families: Vec<String> = DB::list_cf(&options, folder).unwrap_or_default();
        families.push(OWN_FAMILY.to_owned());
        families.extend(stores.iter().map(|store| family_name(&store.name).to_owned()));
        families.sort();
        families.dedup();
        let mut dead_before = BTreeMap::new();
        let families = families.into_iter().map(|family| {
            let mut options = family_options(&family, memory);
            let spec = stores.iter().find(|store| family_name(&store.name) == family);
            if let Some(spec) = spec.filter(|spec| spec.expires()) {
                let dead = Arc::new(AtomicI64::new(i64::MIN));
                expire(&mut options, spec.kind.clone(), dead.clone());
                dead_before.insert(spec.name.clone(), dead);
            }
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
        Ok(RocksBackend { folder: folder.to_owned(), db: Arc::new(db), dead_before })
    }

    /// The newest time of a store's entries.
    fn newest_time(&self, store: &str) -> Result<NewestTime, StateError> {
        let raw = self.db.get(time_key(store)).map_err(failed(store, "read the time of"))?;
        if let Some(eight) = raw.and_then(|raw| <[u8; 8]>::try_from(raw.as_slice()).ok()) {
            return Ok(NewestTime::At(i64::from_be_bytes(eight)));
        }
        let mut entries = self.db.raw_iterator_cf(family(&self.db, store)?);
        entries.seek_to_first();
        Ok(if entries.valid() { NewestTime::Unknown } else { NewestTime::Empty })
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
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    if family == OWN_FAMILY {
        options.set_write_buffer_size(OFFSETS_MEMTABLE_BYTES);
    } else {
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    }
    // What was written lately is read and merged soon.
    let mut compression = [DBCompressionType::Lz4; LEVELS];
    compression[..2].fill(DBCompressionType::None);
    options.set_num_levels(LEVELS as i32);
    options.set_compression_per_level(&compression);
    options
}

/// Has compaction remove the entries before a time.
fn expire(options: &mut Options, kind: StoreKind, dead_before: Arc<AtomicI64>) {
    options.set_compaction_filter("expiry", move |_, key, _| match crate::window::split(key, &kind) {
        Some((_, time)) if time < dead_before.load(Ordering::Relaxed) => CompactionDecision::Remove,
        _ => CompactionDecision::Keep,
    });
}

fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options.set_memtable_insert_hint_per_batch(true);
    options
}

/// Reads a byte of each line of the entries: they lie scattered, and so the processor waits for many at once.
fn touch(entries: &[(&[u8], Option<&[u8]>)]) {
    let lines = |bytes: &[u8]| bytes.iter().step_by(LINE_BYTES).chain(bytes.last()).fold(0, |all, byte| all ^ byte);
    let all = entries.iter().fold(0, |all, (key, value)| all ^ lines(key) ^ lines(value.unwrap_or_default()));
    std::hint::black_box(all);
}

fn time_key(store: &str) -> Vec<u8> {
    [b"time:", store.as_bytes()].concat()
}

fn offset_key(store: &str) -> Vec<u8> {
    [b"offset:", store.as_bytes()].concat()
}

/// A store's column family has its name; but one has it already.
fn family_name(store: &str) -> &str {
    // No store's name has a colon.
    if store == OWN_FAMILY { "store:default" } else { store }
}

fn family<'a>(db: &'a DB, store: &str) -> Result<&'a ColumnFamily, StateError> {
    db.cf_handle(family_name(store)).ok_or_else(|| StateError::Engine {
        store: store.to_owned(),
        action: "find",
        reason: "the database was opened without this store".to_owned(),
    })
}

impl Backend for RocksBackend {
    fn open(&mut self, spec: &StoreSpec) -> Result<Engine, StateError> {
        if spec.in_memory {
            return Ok(Engine::Memory);
        }
        let newest_time = self.newest_time(&spec.name)?;
        Ok(Engine::Committed(Box::new(RocksEngine { db: self.db.clone(), store: spec.name.clone(), newest_time })))
    }

    fn commit(&mut self, writes: Vec<StoreWrites<'_>>, offsets: &BTreeMap<String, Offset>) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        let mut reached = Vec::new();
        for StoreWrites { store, entries, newest_time, dead_before } in writes {
            let family = family(&self.db, store)?;
            for entries in entries.chunks(TOUCHED_ENTRIES) {
                touch(entries);
                for (key, value) in entries {
                    match value {
                        Some(value) => batch.put_cf(family, key, value),
                        None => batch.delete_cf(family, key),
                    }
                }
            }
            if let Some(time) = newest_time {
                batch.put(time_key(store), time.to_be_bytes());
            }
            if let (Some(before), Some(dead)) = (dead_before, self.dead_before.get(store)) {
                reached.push((dead.clone(), before));
            }
        }
        for (store, offset) in offsets {
            batch.put(offset_key(store), offset.0.to_be_bytes());
        }
        self.db.write_opt(batch, &without_log()).map_err(failed(&self.name(), "commit to"))?;
        for (dead, before) in reached {
            dead.fetch_max(before, Ordering::Relaxed);
        }
        Ok(())
    }

    fn offset(&self, store: &str) -> Result<Option<Offset>, StateError> {
        let raw = self.db.get(offset_key(store)).map_err(failed(store, "read the offset of"))?;
        let Some(raw) = raw else { return Ok(None) };
        let eight = <[u8; 8]>::try_from(raw.as_slice());
        let eight = eight.map_err(|_| StateError::Malformed { store: store.to_owned(), length: raw.len() })?;
        Ok(Some(Offset(i64::from_be_bytes(eight))))
    }

    fn reader(&self, store: &str) -> Result<Arc<dyn Committed>, StateError> {
        family(&self.db, store)?;
        // What is written later has times that this one does not know.
        Ok(Arc::new(RocksEngine { db: self.db.clone(), store: store.to_owned(), newest_time: NewestTime::Unknown }))
    }

    fn flush(&mut self) -> Result<(), StateError> {
        let names = DB::list_cf(&Options::default(), &self.folder).map_err(failed(&self.name(), "list"))?;
        let families: Vec<&ColumnFamily> = names.iter().filter_map(|name| self.db.cf_handle(name)).collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed(&self.name(), "flush"))
    }

    fn close(&mut self) -> Result<(), StateError> {
        self.flush()
    }
}

/// One column family.
struct RocksEngine {
    db: Arc<DB>,
    store: String,
    newest_time: NewestTime,
}

impl Committed for RocksEngine {
    fn get(&self, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<(), StateError> {
        let found = self.db.get_pinned_cf(family(&self.db, &self.store)?, key).map_err(failed(&self.store, "read"))?;
        if let Some(value) = &found {
            read(value);
        }
        Ok(())
    }

    fn scan(&self, range: &KeyRange, reverse: bool, visit: Visit<'_>) -> Result<(), StateError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.from.clone());
        if let Some(to) = &range.to {
            options.set_iterate_upper_bound(to.clone());
        }
        let mut entries = self.db.raw_iterator_cf_opt(family(&self.db, &self.store)?, options);
        if reverse {
            entries.seek_to_last();
        } else {
            entries.seek(&range.from);
        }
        while let Some((key, value)) = entries.item() {
            if visit(key, value).is_break() {
                break;
            }
            if reverse {
                entries.prev();
            } else {
                entries.next();
            }
        }
        entries.status().map_err(failed(&self.store, "scan"))
    }

    fn approximate_count(&self) -> Result<u64, StateError> {
        let estimated = self.db.property_int_value_cf(family(&self.db, &self.store)?, ESTIMATE_NUM_KEYS);
        Ok(estimated.map_err(failed(&self.store, "count"))?.unwrap_or(0))
    }

    fn newest_time(&self) -> NewestTime {
        self.newest_time
    }
}
