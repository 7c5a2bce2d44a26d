//! The optimiser: Kafka Streams' three rewrites (`topology.optimization`), each switched on by itself, and the dropping of
//! null keys before repartitions that no left or outer join lies behind.

use super::node::{Graph, GraphId, GraphKind, ROOT};
use crate::config::Optimizations;
use crate::error::BuildError;
use crate::topology::Reads;

pub(crate) fn optimize(graph: &mut Graph, which: Optimizations) -> Result<(), BuildError> {
    merge_duplicate_sources(graph)?;
    if which.reuse_table_sources {
        for node in &mut graph.nodes {
            if let GraphKind::TableSource { reuse, .. } = &mut node.kind {
                *reuse = true;
            }
        }
    }
    if which.merge_repartitions {
        merge_repartitions(graph);
    }
    if which.self_joins {
        rewrite_self_joins(graph);
    }
    drop_null_keys(graph);
    Ok(())
}

/// Two streams of the same topics read them once.
fn merge_duplicate_sources(graph: &mut Graph) -> Result<(), BuildError> {
    let mut seen: Vec<(Reads, GraphId)> = Vec::new();
    for id in graph.nodes[ROOT].children.clone() {
        let GraphKind::Source { reads, types, .. } = &graph.nodes[id].kind else { continue };
        let (reads, types) = (reads.clone(), *types);
        let overlap = seen.iter().find_map(|(others, first)| Some((others, *first, reads.overlap(others)?)));
        let Some((others, first, topic)) = overlap else {
            seen.push((reads, id));
            continue;
        };
        if !reads.same_topics(others) {
            return Err(BuildError::SourceConflict { topic, how: "each time together with other topics" });
        }
        if !matches!(&graph.nodes[first].kind, GraphKind::Source { types: first, .. } if *first == types) {
            return Err(BuildError::SourceConflict { topic, how: "with two types" });
        }
        if reads.reset != others.reset {
            return Err(BuildError::SourceConflict { topic, how: "with two places to begin at" });
        }
        for child in graph.nodes[id].children.clone() {
            graph.unlink(id, child);
            graph.link(first, child);
        }
        graph.unlink(ROOT, id);
    }
    Ok(())
}

/// Several repartitions of one key change become one, right behind it.
fn merge_repartitions(graph: &mut Graph) {
    attribute_merges(graph);
    for (changer, repartitions) in std::mem::take(&mut graph.key_changers) {
        let Some(&first) = repartitions.first() else { continue };
        let GraphKind::Repartition { topic, maker, .. } = graph.nodes[first].kind.clone() else { continue };
        let single = super::lower::create_repartition(graph, &topic, maker, None, true);
        graph.nodes[single].priority = graph.nodes[changer].priority;
        for replaced in repartitions {
            let below = graph.find_above(replaced, &|id| graph.nodes[id].parents.contains(&changer));
            let Some(below) = below else { continue };
            graph.link(single, below);
            graph.unlink(changer, below);
            let (parents, children) = (graph.nodes[replaced].parents.clone(), graph.nodes[replaced].children.clone());
            for &child in &children {
                for &parent in &parents {
                    graph.link(parent, child);
                }
            }
            for &parent in &parents {
                graph.unlink(parent, replaced);
            }
            for &child in &children {
                graph.unlink(replaced, child);
            }
            let (old, new) = (graph.nodes[replaced].name.clone(), graph.nodes[single].name.clone());
            for group in &mut graph.copartitioned {
                if group.remove(&old) {
                    group.insert(new.clone());
                }
            }
        }
        graph.link(changer, single);
    }
}

/// A merge of key-changed streams counts as the key changer of the repartitions behind it.
fn attribute_merges(graph: &mut Graph) {
    let mut found: Vec<(GraphId, Vec<GraphId>)> = Vec::new();
    for &merge in &graph.merges {
        let mut changers = Vec::new();
        for (changer, repartitions) in &graph.key_changers {
            let below_merge =
                |&node: &GraphId| graph.find_above(node, &|id| graph.nodes[id].parents.contains(&merge)).is_some();
            if repartitions.iter().all(below_merge)
                && graph.find_above(merge, &|id| graph.nodes[id].parents.contains(changer)).is_some()
            {
                changers.push(*changer);
            }
        }
        found.push((merge, changers));
    }
    let mut removed = Vec::new();
    for (merge, changers) in found {
        let mut repartitions: Vec<GraphId> = Vec::new();
        for changer in changers {
            let own = graph.key_changers.iter().find(|(id, _)| *id == changer).map(|(_, own)| own.clone());
            for repartition in own.unwrap_or_default() {
                if !repartitions.contains(&repartition) {
                    repartitions.push(repartition);
                }
            }
            removed.push(changer);
        }
        graph.key_changers.retain(|(id, _)| *id != merge);
        graph.key_changers.push((merge, repartitions));
    }
    graph.key_changers.retain(|(id, _)| !removed.contains(id));
}

/// A join of a stream with itself needs one store.
fn rewrite_self_joins(graph: &mut Graph) {
    for id in 0..graph.nodes.len() {
        let [parent] = graph.nodes[id].parents[..] else { continue };
        let priority = graph.nodes[id].priority;
        let GraphKind::StreamJoin { left_windowed, right_windowed, self_join: Some(_), .. } = &graph.nodes[id].kind
        else {
            continue;
        };
        let windowed = |name: &str| {
            graph.nodes[parent].children.iter().copied().find(|&child| {
                graph.nodes[child].priority < priority
                    && matches!(&graph.nodes[child].kind, GraphKind::Processor(spec) if spec.name == name)
            })
        };
        let (Some(_), Some(right)) = (windowed(left_windowed), windowed(right_windowed)) else { continue };
        graph.unlink(parent, right);
        if let GraphKind::StreamJoin { is_self_join, .. } = &mut graph.nodes[id].kind {
            *is_self_join = true;
        }
    }
}

/// Records without a key need not be repartitioned, except on the way to a join that sends them on unjoined.
fn drop_null_keys(graph: &mut Graph) {
    fn relaxed_below(graph: &Graph, id: GraphId) -> bool {
        graph.nodes[id]
            .children
            .iter()
            .any(|&child| graph.nodes[child].relaxed_null_keys || relaxed_below(graph, child))
    }
    for id in 0..graph.nodes.len() {
        let relaxed = relaxed_below(graph, id);
        if let GraphKind::Repartition { drop_null_keys, .. } = &mut graph.nodes[id].kind {
            *drop_null_keys = !relaxed;
        }
    }
}
