//! A Java `TreeSet` into which elements are put while what they are sorted by still changes.
//!
//! Where Kafka Streams sorts names by sizes that grow meanwhile, the outcome depends on which elements a new one is compared
//! with, and so on the shape of the red-black tree; hence the tree itself, as `java.util.TreeMap` builds it.

use std::cmp::Ordering;

#[derive(Clone, Debug)]
struct Leaf {
    value: usize,
    parent: Option<usize>,
    left: Option<usize>,
    right: Option<usize>,
    red: bool,
}

/// The set; elements are never taken out.
#[derive(Clone, Debug, Default)]
pub(crate) struct JavaTree {
    leaves: Vec<Leaf>,
    root: Option<usize>,
}

impl JavaTree {
    /// Puts an element in, unless it compares as equal to one that it meets on its way down.
    pub fn insert(&mut self, value: usize, compare: impl Fn(usize, usize) -> Ordering) {
        let mut parent = None;
        let mut at = self.root;
        let mut side = Ordering::Equal;
        while let Some(index) = at {
            side = compare(value, self.leaves[index].value);
            parent = at;
            at = match side {
                Ordering::Less => self.leaves[index].left,
                Ordering::Greater => self.leaves[index].right,
                Ordering::Equal => return,
            };
        }
        let new = self.leaves.len();
        self.leaves.push(Leaf { value, parent, left: None, right: None, red: true });
        match (parent, side) {
            (None, _) => self.root = Some(new),
            (Some(parent), Ordering::Less) => self.leaves[parent].left = Some(new),
            (Some(parent), _) => self.leaves[parent].right = Some(new),
        }
        self.rebalance(new);
    }

    fn is_red(&self, node: Option<usize>) -> bool {
        node.is_some_and(|node| self.leaves[node].red)
    }

    fn rebalance(&mut self, mut node: usize) {
        while let Some(parent) = self.leaves[node].parent
            && self.leaves[parent].red
            && let Some(grand) = self.leaves[parent].parent
        {
            let parent_is_left = self.leaves[grand].left == Some(parent);
            let uncle = if parent_is_left { self.leaves[grand].right } else { self.leaves[grand].left };
            if self.is_red(uncle) {
                self.leaves[parent].red = false;
                if let Some(uncle) = uncle {
                    self.leaves[uncle].red = false;
                }
                self.leaves[grand].red = true;
                node = grand;
                continue;
            }
            let node_is_left = self.leaves[parent].left == Some(node);
            let mut middle = parent;
            if node_is_left != parent_is_left {
                middle = node;
                self.rotate(parent, parent_is_left);
            }
            self.leaves[middle].red = false;
            self.leaves[grand].red = true;
            self.rotate(grand, !parent_is_left);
            break;
        }
        if let Some(root) = self.root {
            self.leaves[root].red = false;
        }
    }

    /// Turns a node down to the left, or to the right.
    fn rotate(&mut self, node: usize, to_left: bool) {
        let child = if to_left { self.leaves[node].right } else { self.leaves[node].left };
        let Some(child) = child else { return };
        let inner = if to_left { self.leaves[child].left } else { self.leaves[child].right };
        if to_left {
            self.leaves[node].right = inner;
            self.leaves[child].left = Some(node);
        } else {
            self.leaves[node].left = inner;
            self.leaves[child].right = Some(node);
        }
        if let Some(inner) = inner {
            self.leaves[inner].parent = Some(node);
        }
        let parent = self.leaves[node].parent;
        self.leaves[child].parent = parent;
        match parent {
            None => self.root = Some(child),
            Some(parent) if self.leaves[parent].left == Some(node) => self.leaves[parent].left = Some(child),
            Some(parent) => self.leaves[parent].right = Some(child),
        }
        self.leaves[node].parent = Some(child);
    }

    /// The elements from left to right.
    pub fn in_order(&self) -> Vec<usize> {
        let mut out = Vec::with_capacity(self.leaves.len());
        let mut stack = Vec::new();
        let mut at = self.root;
        while at.is_some() || !stack.is_empty() {
            while let Some(node) = at {
                stack.push(node);
                at = self.leaves[node].left;
            }
            let Some(node) = stack.pop() else { break };
            out.push(self.leaves[node].value);
            at = self.leaves[node].right;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_when_the_order_stands_still(values: Vec<u16>) {
            let mut tree = JavaTree::default();
            let mut sorted: Vec<usize> = values.iter().map(|&value| usize::from(value)).collect();
            for &value in &sorted {
                tree.insert(value, |a, b| a.cmp(&b));
            }
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(tree.in_order(), sorted);
        }
    }
}
