//! Making, changing and deleting topics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use tidewater_env::random_id;
use tidewater_types::Partition;

use crate::broker::Shared;
use crate::folder::DELETED;
use crate::metadata::{METADATA_TOPIC, TopicRecord};
use crate::offsets::OFFSETS_TOPIC;
use crate::topics::{OpenTopic, is_legal_name};
use crate::{BrokerError, parse_topic_settings};

/// Why a topic was not made or changed.
pub(crate) enum TopicError {
    Exists,
    Unknown,
    InvalidName,
    InvalidPartitions(String),
    InvalidConfig(String),
    Storage(String),
}

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
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<OpenTopic>, TopicError> {
        if !is_legal_name(name) || name == METADATA_TOPIC {
            return Err(TopicError::InvalidName);
        }
        let partitions = if partitions == -1 { self.settings.default_partitions } else { partitions };
        if partitions < 1 {
            return Err(TopicError::InvalidPartitions("Number of partitions must be larger than 0.".to_owned()));
        }
        let config = parse_topic_settings(&configs).map_err(|error| TopicError::InvalidConfig(error.to_string()))?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if topics.contains_key(name) {
            return Err(TopicError::Exists);
        }
        let record = TopicRecord::new(random_id(), partitions, configs);
        let folders: Vec<PathBuf> =
            (0..partitions).map(|number| self.folder.path.join(format!("{name}-{number}"))).collect();
        for folder in folders.iter().filter(|folder| self.folder.disk.exists(folder)) {
            self.remove_unfinished(folder).map_err(storage)?;
        }
        let opened = OpenTopic::open(&self.folder, name, record.clone(), &config, &BTreeMap::new());
        let topic = opened.map_err(|error| {
            for folder in folders.iter().filter(|folder| self.folder.disk.exists(folder)) {
                let _ = self.folder.disk.remove_folder(folder); // What stays is named when the topic is made again.
            }
            storage(error)
        })?;
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write(name, Some(&record), self.now()).map_err(storage)?;
        let topic = Arc::new(topic);
        topics.insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    /// Changes a topic's settings, by name, all together or none.
    pub fn alter_settings(&self, name: &str, changes: Vec<(String, SettingChange)>) -> Result<(), TopicError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or(TopicError::Unknown)?;
        let mut record = topic.record.clone();
        for (setting, change) in changes {
            apply(&mut record.configs, setting, change).map_err(TopicError::InvalidConfig)?;
        }
        let parsed = parse_topic_settings(&record.configs);
        let config = parsed.map_err(|error| TopicError::InvalidConfig(error.to_string()))?;
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write(name, Some(&record), self.now()).map_err(storage)?;
        for partition in &topic.partitions {
            partition.lock().set_config(config.clone());
        }
        let altered = OpenTopic { record, partitions: topic.partitions.clone() };
        topics.insert(name.to_owned(), Arc::new(altered));
        Ok(())
    }

    /// Adds partitions to a topic, so that it has `count` of them.
    pub fn add_partitions(&self, name: &str, count: Partition) -> Result<(), TopicError> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or(TopicError::Unknown)?;
        let has = topic.record.partitions;
        if count <= has {
            let what = if count == has { "already has" } else { "cannot have fewer than its" };
            return Err(TopicError::InvalidPartitions(format!("Topic '{name}' {what} {has} partitions")));
        }
        let config = parse_topic_settings(&topic.record.configs).map_err(storage)?;
        for folder in (has..count).map(|number| self.folder.path.join(format!("{name}-{number}"))) {
            if self.folder.disk.exists(&folder) {
                self.remove_unfinished(&folder).map_err(storage)?;
            }
        }
        let record = TopicRecord::new(topic.record.id, count, topic.record.configs.clone());
        let mut grown = OpenTopic { record, partitions: topic.partitions.clone() };
        for number in has..count {
            grown.open_partition(&self.folder, name, number, &config, &BTreeMap::new()).map_err(storage)?;
        }
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write(name, Some(&grown.record), self.now()).map_err(storage)?;
        topics.insert(name.to_owned(), Arc::new(grown));
        Ok(())
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

    /// Deletes a topic: its folders lose their names, its record goes, then its files. Says whether there was one.
    pub fn delete_topic(&self, name: &str) -> Result<bool, BrokerError> {
        if name == OFFSETS_TOPIC {
            return Err(BrokerError::Setting {
                name: name.to_owned(),
                what: "holds the offsets of all groups, and cannot be deleted".to_owned(),
            });
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = topics.remove(name) else { return Ok(false) };
        let mut renamed = Vec::new();
        for partition in &topic.partitions {
            let mut log = partition.lock();
            log.retire();
            let (folder, away) = (log.folder().to_owned(), log.folder().with_added_extension(DELETED));
            self.folder.disk.rename(&folder, &away).map_err(BrokerError::io("rename", folder))?;
            renamed.push(away);
        }
        let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        metadata.write(name, None, self.now())?;
        for folder in renamed {
            self.folder.disk.remove_folder(&folder).map_err(BrokerError::io("remove", folder))?;
        }
        Ok(true)
    }

    /// The topic of committed offsets, made when the first group commits.
    pub fn offsets_topic(&self) -> Result<Arc<OpenTopic>, TopicError> {
        if let Some(topic) = self.topic(OFFSETS_TOPIC) {
            return Ok(topic);
        }
        let configs = [("cleanup.policy", "compact"), ("segment.bytes", "104857600")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        match self.create_topic(OFFSETS_TOPIC, self.settings.offsets_partitions, configs.into()) {
            Err(TopicError::Exists) => self.topic(OFFSETS_TOPIC).ok_or(TopicError::Exists),
            other => other,
        }
    }
}

/// One change to a topic's own settings.
fn apply(settings: &mut BTreeMap<String, String>, name: String, change: SettingChange) -> Result<(), String> {
    let is_list = name == "cleanup.policy";
    let current = settings.get(&name).map_or("delete", String::as_str);
    let mut parts: Vec<String> = current.split(',').map(str::trim).map(str::to_owned).collect();
    match change {
        SettingChange::Delete => {
            settings.remove(&name);
        }
        SettingChange::Set(value) => {
            settings.insert(name, value);
        }
        SettingChange::Append(_) | SettingChange::Subtract(_) if !is_list => {
            return Err(format!("setting {name}: is no list; set it to its new value"));
        }
        SettingChange::Append(value) => {
            if !parts.contains(&value) {
                parts.push(value);
            }
            settings.insert(name, parts.join(","));
        }
        SettingChange::Subtract(value) => {
            parts.retain(|part| *part != value);
            settings.insert(name, parts.join(","));
        }
    }
    Ok(())
}
