//! Making, changing and deleting topics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tidewater_env::random_id;
use tidewater_log::LogError;
use tidewater_types::{Offset, Partition, TopicPartition};
use uuid::Uuid;

use crate::BrokerError;
use crate::broker::{Shared, note_deletion};
use crate::config::{check_setting_name, is_idle, topic_settings};
use crate::dynamic::{Kind, Settings};
use crate::folder::{LOG_STARTS, deleted_folder};
use crate::groups::OFFSETS_TOPIC;
use crate::metadata::{METADATA_TOPIC, TopicRecord};
use crate::topics::{KnownPoints, OpenTopic, is_internal, is_legal_name};
use crate::transactions::TRANSACTIONS_TOPIC;

/// Why a topic was not made or changed.
pub(crate) enum TopicError {
    Exists,
    Unknown,
    InvalidName,
    /// It is the broker's to make.
    Internal,
    InvalidPartitions(String),
    TooManyPartitions,
    InvalidAssignment(String),
    /// Another one's name differs in dots and underscores only.
    Collides(String),
    InvalidConfig(String),
    Storage(String),
}

/// More partitions than this are made by no CreateTopics or CreatePartitions.
pub(crate) const PARTITIONS_LIMIT: Partition = 10_000;

/// A change of one setting.
pub(crate) enum SettingChange {
    Set(String),
    /// Back to the default.
    Delete,
    /// Adds to a list.
    Append(String),
    /// Takes out of a list.
    Subtract(String),
}

fn storage(error: BrokerError) -> TopicError {
    TopicError::Storage(error.to_string())
}

impl Shared {
    /// Makes a topic that somebody asks for by name.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: Partition,
        configs: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<Arc<OpenTopic>, TopicError> {
        if !is_legal_name(name) {
            return Err(TopicError::InvalidName);
        }
        if name == METADATA_TOPIC {
            return Err(TopicError::Internal);
        }
        let mut settings = coordinators_settings(name);
        settings.extend(configs);
        if is_internal(name) && settings.get("cleanup.policy").is_none_or(|policy| policy.trim() != "compact") {
            return Err(not_compacted(name));
        }
        self.make_topic(name, partitions, settings, validate_only)
    }

    /// Makes a topic that somebody wants to write to or read.
    pub fn make_wanted(&self, name: &str) -> Result<Arc<OpenTopic>, TopicError> {
        match name {
            OFFSETS_TOPIC => return self.offsets_topic(),
            TRANSACTIONS_TOPIC => return self.transactions_topic(),
            _ => {}
        }
        match self.create_topic(name, -1, BTreeMap::new(), false) {
            Err(TopicError::Exists) => self.topic(name).ok_or(TopicError::Exists),
            other => other,
        }
    }

    fn make_topic(
        &self,
        name: &str,
        partitions: Partition,
        configs: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<Arc<OpenTopic>, TopicError> {
        let partitions = if partitions == -1 { self.settings.default_partitions } else { partitions };
        check_partitions(partitions)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let config = self.topic_config(&configs).map_err(|error| TopicError::InvalidConfig(error.words()))?;
        if topics.contains_key(name) {
            return Err(TopicError::Exists);
        }
        // Their metrics would have the same names in Apache Kafka.
        let plain = |name: &str| name.replace('.', "_");
        if name.contains(['.', '_'])
            && let Some(other) = topics.keys().find(|other| plain(other) == plain(name))
        {
            return Err(TopicError::Collides(other.clone()));
        }
        if validate_only {
            let record = TopicRecord::new(Uuid::nil(), partitions, configs);
            return Ok(Arc::new(OpenTopic { record, partitions: Vec::new() }));
        }
        self.folder.forget_points(name).map_err(storage)?;
        let record = TopicRecord::new(random_id(), partitions, configs);
        let folders: Vec<PathBuf> =
            (0..partitions).map(|number| self.folder.path.join(format!("{name}-{number}"))).collect();
        for folder in folders.iter().filter(|folder| self.folder.disk.exists(folder)) {
            self.remove_unfinished(folder).map_err(storage)?;
        }
        let opened = OpenTopic::open(&self.folder, name, record.clone(), &config, &KnownPoints::default());
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = opened.and_then(|topic| metadata.write(name, Some(&record), self.now()).map(|()| topic));
        let topic = noted.map_err(|error| {
            self.remove_folders(&folders);
            storage(error)
        })?;
        if !is_internal(name) {
            self.tell_idle(name, &record.configs);
        }
        let topic = Arc::new(topic);
        self.topic_names.write().unwrap_or_else(PoisonError::into_inner).insert(record.id, name.to_owned());
        topics.insert(name.to_owned(), topic.clone());
        self.topics_version.fetch_add(1, Ordering::Release);
        Ok(topic)
    }

    /// Changes a topic's settings, by name, all together or none.
    pub fn alter_settings(
        &self,
        name: &str,
        changes: Vec<(String, SettingChange)>,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or(TopicError::Unknown)?;
        let mut record = topic.record.clone();
        if is_internal(name) && changes.iter().any(|(setting, _)| setting == "cleanup.policy") {
            return Err(not_compacted(name));
        }
        for (setting, change) in changes {
            if matches!(change, SettingChange::Delete) {
                check_setting_name(&setting).map_err(|error| TopicError::InvalidConfig(error.words()))?;
            }
            let known = topic_settings().find(|known| known.name == setting);
            let list = known.filter(|known| known.kind == Kind::List).map(|known| known.default);
            apply(&mut record.configs, setting, change, list).map_err(TopicError::InvalidConfig)?;
        }
        let parsed = self.topic_config(&record.configs);
        let config = parsed.map_err(|error| TopicError::InvalidConfig(error.words()))?;
        if validate_only {
            return Ok(());
        }
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write(name, Some(&record), self.now()).map_err(storage)?;
        for partition in &topic.partitions {
            partition.lock().set_config(config.clone());
        }
        self.tell_idle(name, &record.configs);
        let altered = OpenTopic { record, partitions: topic.partitions.clone() };
        topics.insert(name.to_owned(), Arc::new(altered));
        Ok(())
    }

    /// Says which of a topic's settings no log acts on.
    fn tell_idle(&self, topic: &str, settings: &Settings) {
        for setting in settings.keys().filter(|name| is_idle(name)) {
            self.complain("topic settings", |left_out| {
                tracing::warn!(topic, setting, left_out, "a topic has a setting without effect here");
            });
        }
    }

    /// Adds partitions to a topic, so that it has `count` of them. Where they go may be said, for so many of them, or what is wrong with
    /// that.
    pub fn add_partitions(
        &self,
        name: &str,
        count: Partition,
        assigned: Option<Result<usize, String>>,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or(TopicError::Unknown)?;
        let has = topic.record.partitions;
        if count <= has {
            let what = match count == has {
                true => format!("Topic already has {has} partition(s)."),
                false => {
                    format!("The topic {name} currently has {has} partition(s); {count} would not be an increase.")
                }
            };
            return Err(TopicError::InvalidPartitions(what));
        }
        if is_internal(name) {
            let what =
                "what a group or a transaction has is in the partition that its name and their number say".to_owned();
            return Err(TopicError::InvalidPartitions(what));
        }
        check_partitions(count)?;
        let added = (count - has) as usize;
        match assigned {
            Some(Ok(assigned)) if assigned != added => {
                return Err(TopicError::InvalidAssignment(format!(
                    "Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."
                )));
            }
            Some(Err(fault)) => return Err(TopicError::InvalidAssignment(fault)),
            Some(Ok(_)) | None => {}
        }
        if validate_only {
            return Ok(());
        }
        let config = self.topic_config_now(&topic.record.configs).map_err(storage)?;
        let folders: Vec<PathBuf> =
            (has..count).map(|number| self.folder.path.join(format!("{name}-{number}"))).collect();
        for folder in folders.iter().filter(|folder| self.folder.disk.exists(folder)) {
            self.remove_unfinished(folder).map_err(storage)?;
        }
        let record = TopicRecord::new(topic.record.id, count, topic.record.configs.clone());
        let mut grown = OpenTopic { record, partitions: topic.partitions.clone() };
        let opened = (has..count)
            .try_for_each(|number| grown.open_partition(&self.folder, name, number, &config, &KnownPoints::default()));
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = opened.and_then(|()| metadata.write(name, Some(&grown.record), self.now()));
        noted.map_err(|error| {
            self.remove_folders(&folders);
            storage(error)
        })?;
        topics.insert(name.to_owned(), Arc::new(grown));
        self.topics_version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Deletes the records of a partition before an offset; −1 stands for all that may be read. Gives the first offset left.
    pub fn delete_records(&self, place: &TopicPartition, before: Offset) -> Result<Offset, LogError> {
        // Held to the end: a topic that is made anew under this name must not have this start.
        let topics = self.topics();
        let topic = topics.get(&*place.topic);
        let Some(partition) = topic.and_then(|topic| topic.partition(place.partition)) else {
            return Err(LogError::OffsetOutOfRange { offset: before, start: Offset::ZERO, end: Offset::ZERO });
        };
        let start = {
            let mut log = partition.lock();
            let before = if before == Offset(-1) { log.high_watermark() } else { before };
            log.delete_before(before)?;
            log.log_start()
        };
        // Lost in a crash, it costs nothing: the records come back that somebody was done with.
        let noted = self.folder.change_points(LOG_STARTS, |points| {
            let noted = points.entry(place.clone()).or_default();
            *noted = start.max(*noted);
        });
        if let Err(error) = noted {
            tracing::warn!(%place, %error, "the new start of a log is not noted");
        }
        Ok(start)
    }

    /// Removes a partition's folder that a killed process made and had no topic for yet. One with records is somebody's.
    fn remove_unfinished(&self, folder: &Path) -> Result<(), BrokerError> {
        let disk = &self.folder.disk;
        for file in disk.list(folder).map_err(BrokerError::io("list", folder))? {
            let is_log = file.extension().is_some_and(|extension| extension == "log");
            let length =
                disk.open_to_read(&file).and_then(|file| file.len()).map_err(BrokerError::io("measure", &file))?;
            if is_log && length > 0 {
                return Err(BrokerError::Foreign(folder.to_owned()));
            }
        }
        disk.remove_folder(folder).map_err(BrokerError::io("remove", folder))
    }

    /// Removes the folders of partitions that could not be made.
    fn remove_folders(&self, folders: &[PathBuf]) {
        for folder in folders.iter().filter(|folder| self.folder.disk.exists(folder)) {
            let _ = self.folder.disk.remove_folder(folder); // What stays is named when the topic is made again.
        }
    }

    /// Deletes a topic, and what groups have committed for it. Says whether there was one.
    ///
    /// From the moment that its first folder has lost its name it is deleted: an open of the data folder ends what a kill
    /// interrupts.
    pub fn delete_topic(&self, name: &str) -> Result<bool, BrokerError> {
        if is_internal(name) {
            return Err(BrokerError::Setting {
                name: name.to_owned(),
                what: "holds what the coordinators know, and cannot be deleted".to_owned(),
            });
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = topics.remove(name) else { return Ok(false) };
        self.topics_version.fetch_add(1, Ordering::Release);
        // They see that, and look when the topics can be looked at again.
        topic.partitions.iter().for_each(|partition| partition.wake());
        self.topic_names.write().unwrap_or_else(PoisonError::into_inner).remove(&topic.record.id);
        let mut renamed = Vec::new();
        for (number, partition) in topic.partitions.iter().enumerate() {
            let mut log = partition.lock();
            log.retire();
            let (folder, away) =
                (log.folder().to_owned(), deleted_folder(&self.folder.path, topic.record.id, number as Partition));
            self.folder.disk.move_file(&folder, &away).map_err(BrokerError::io("rename", folder))?;
            renamed.push(away);
        }
        // Once for all: each takes a disk's time, and nobody finds a topic meanwhile.
        self.folder.disk.sync_folder(&self.folder.path).map_err(BrokerError::io("sync", &self.folder.path))?;
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        note_deletion(&self.folder, &mut metadata, name, &renamed, self.now())?;
        drop(metadata);
        if let Some(offsets) = topics.get(OFFSETS_TOPIC).cloned() {
            let forgotten =
                self.change_groups_over(&offsets, &topics, |groups, outside| groups.forget_topic(outside, name));
            if let Err(error) = forgotten {
                // They are left out at the next start, since the topic's id is not this one's.
                tracing::error!(topic = name, %error, "offsets of a deleted topic stay");
            }
        }
        drop(topics);
        for folder in renamed {
            self.folder.disk.remove_folder(&folder).map_err(BrokerError::io("remove", folder))?;
        }
        Ok(true)
    }

    /// The topic of groups, made for the first one.
    pub fn offsets_topic(&self) -> Result<Arc<OpenTopic>, TopicError> {
        self.coordinators_topic(OFFSETS_TOPIC, self.settings.offsets_partitions)
    }

    /// The topic of transactions, made for the first one.
    pub fn transactions_topic(&self) -> Result<Arc<OpenTopic>, TopicError> {
        self.coordinators_topic(TRANSACTIONS_TOPIC, self.settings.transactions_partitions)
    }

    fn coordinators_topic(&self, name: &str, partitions: Partition) -> Result<Arc<OpenTopic>, TopicError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        match self.make_topic(name, partitions, coordinators_settings(name), false) {
            Err(TopicError::Exists) => self.topic(name).ok_or(TopicError::Exists),
            other => other,
        }
    }
}

/// The settings that a topic of coordinators is made with, if it is given no others; none for any other topic.
fn coordinators_settings(name: &str) -> BTreeMap<String, String> {
    let compacted = [("cleanup.policy", "compact"), ("segment.bytes", "104857600")];
    let others: &[(&str, &str)] = match name {
        OFFSETS_TOPIC => &[("compression.type", "producer")],
        TRANSACTIONS_TOPIC => &[("compression.type", "uncompressed"), ("unclean.leader.election.enable", "false")],
        _ => return BTreeMap::new(),
    };
    compacted.iter().chain(others).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn not_compacted(name: &str) -> TopicError {
    TopicError::InvalidConfig(format!("{name} is compacted, or what coordinators know would be lost"))
}

fn check_partitions(count: Partition) -> Result<(), TopicError> {
    match count {
        1..=PARTITIONS_LIMIT => Ok(()),
        ..1 => Err(TopicError::InvalidPartitions(
            "Number of partitions was set to an invalid non-positive value.".to_owned(),
        )),
        _ => Err(TopicError::TooManyPartitions),
    }
}

/// The longest value of a setting, in UTF-16 units.
const VALUE_LIMIT: usize = i16::MAX as usize;

fn bounded(value: String) -> Result<String, String> {
    if value.encode_utf16().count() <= VALUE_LIMIT {
        return Ok(value);
    }
    Err(format!(
        "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_LIMIT} bytes."
    ))
}

/// One change of settings. For a list, its default is given.
pub(crate) fn apply(
    settings: &mut BTreeMap<String, String>,
    name: String,
    change: SettingChange,
    list: Option<&str>,
) -> Result<(), String> {
    let current = settings.get(&name).map_or(list.unwrap_or_default(), String::as_str);
    let parts_of = |list: &str| -> Vec<String> {
        list.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut parts = parts_of(current);
    match change {
        SettingChange::Delete => {
            settings.remove(&name);
        }
        SettingChange::Set(value) => {
            settings.insert(name, bounded(value)?);
        }
        SettingChange::Append(_) if list.is_none() => {
            return Err(format!("Can't APPEND to key {name} because its type is not LIST."));
        }
        SettingChange::Subtract(_) if list.is_none() => {
            return Err(format!("Can't SUBTRACT from key {name} because its type is not LIST."));
        }
        SettingChange::Append(value) => {
            for part in parts_of(&value) {
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
            settings.insert(name, bounded(parts.join(","))?);
        }
        SettingChange::Subtract(value) => {
            let less = parts_of(&value);
            parts.retain(|part| !less.contains(part));
            settings.insert(name, parts.join(","));
        }
    }
    Ok(())
}
