//! Maximum flow (Dinic). At most 514 nodes and 66 000 edges by the limits of carts and slots, so at most 514 phases, each
//! linear in practice; capacities may be large, which is why augmenting unit by unit would not do.

use std::collections::VecDeque;

struct Edge {
    to: usize,
    capacity: u64,
}

/// Edges lie in pairs: an edge and its residual differ in the last bit of their index.
pub(crate) struct Network {
    edges: Vec<Edge>,
    leaving: Vec<Vec<usize>>,
}

impl Network {
    pub(crate) fn with_nodes(count: usize) -> Self {
        Self { edges: Vec::new(), leaving: vec![Vec::new(); count] }
    }

    pub(crate) fn connect(&mut self, from: usize, to: usize, capacity: u64) {
        for (from, to, capacity) in [(from, to, capacity), (to, from, 0)] {
            if let Some(leaving) = self.leaving.get_mut(from) {
                leaving.push(self.edges.len());
            }
            self.edges.push(Edge { to, capacity });
        }
    }

    pub(crate) fn max_flow(&mut self, source: usize, sink: usize) -> u64 {
        let mut total = 0_u64;
        while let Some(levels) = self.levels(source, sink) {
            let mut next = vec![0_usize; self.leaving.len()];
            loop {
                let pushed = self.augment(source, sink, &levels, &mut next);
                if pushed == 0 {
                    break;
                }
                total = total.saturating_add(pushed);
            }
        }
        total
    }

    /// Distances from the source over edges with room; `None` once the sink is out of reach.
    fn levels(&self, source: usize, sink: usize) -> Option<Vec<Option<usize>>> {
        let mut levels: Vec<Option<usize>> = vec![None; self.leaving.len()];
        *levels.get_mut(source)? = Some(0);
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            let below = levels.get(node).copied().flatten()?.saturating_add(1);
            for edge in self.leaving.get(node)?.iter().filter_map(|index| self.edges.get(*index)) {
                if edge.capacity > 0
                    && let Some(level @ None) = levels.get_mut(edge.to)
                {
                    *level = Some(below);
                    queue.push_back(edge.to);
                }
            }
        }
        levels.get(sink).copied().flatten().map(|_| levels)
    }

    /// Pushes along one path of rising levels, walking back from dead ends; 0 when none is left. The path is a list, not a
    /// call stack, so that no cart can exhaust it.
    fn augment(&mut self, source: usize, sink: usize, levels: &[Option<usize>], next: &mut [usize]) -> u64 {
        let mut path: Vec<usize> = Vec::new();
        let mut node = source;
        while node != sink {
            let position = next.get(node).copied().unwrap_or_default();
            let Some(index) = self.leaving.get(node).and_then(|leaving| leaving.get(position)).copied() else {
                let Some(last) = path.pop() else { return 0 };
                node = self.edges.get(last ^ 1).map_or(source, |back| back.to);
                advance(next, node);
                continue;
            };
            let level = |node: usize| levels.get(node).copied().flatten();
            match self.edges.get(index) {
                Some(edge) if edge.capacity > 0 && level(edge.to) == level(node).map(|own| own.saturating_add(1)) => {
                    path.push(index);
                    node = edge.to;
                }
                _ => advance(next, node),
            }
        }
        let pushed =
            path.iter().filter_map(|index| self.edges.get(*index)).map(|edge| edge.capacity).min().unwrap_or(0);
        for index in path {
            if let Some(edge) = self.edges.get_mut(index) {
                edge.capacity = edge.capacity.saturating_sub(pushed);
            }
            if let Some(back) = self.edges.get_mut(index ^ 1) {
                back.capacity = back.capacity.saturating_add(pushed);
            }
        }
        pushed
    }
}

fn advance(next: &mut [usize], node: usize) {
    if let Some(position) = next.get_mut(node) {
        *position = position.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(nodes: usize, edges: &[(usize, usize, u64)]) -> u64 {
        let mut network = Network::with_nodes(nodes);
        edges.iter().for_each(|(from, to, capacity)| network.connect(*from, *to, *capacity));
        network.max_flow(0, nodes - 1)
    }

    #[test]
    fn flows_are_maximal() {
        assert_eq!(flow(2, &[]), 0);
        assert_eq!(flow(3, &[(0, 1, 5), (1, 2, 3)]), 3);
        // a greedy first path over the middle edge must be taken back
        assert_eq!(flow(4, &[(0, 1, 1), (0, 2, 1), (1, 2, 1), (1, 3, 1), (2, 3, 1)]), 2);
        assert_eq!(
            flow(6, &[(0, 1, 10), (0, 2, 10), (1, 3, 4), (1, 4, 8), (2, 4, 9), (3, 5, 10), (4, 3, 6), (4, 5, 10)]),
            19
        );
    }
}
