//! Wide pools as chains of narrow ones.

use std::collections::HashMap;

use super::{FoldedNet, Head, Node, Operator, Value};
use crate::graph::MaxPool;

/// The pool that chains are made of: 5x5, stride 1, the map keeps its size.
const LINK: MaxPool = MaxPool { size: 5, stride_y: 1, stride_x: 1, padding: 4 };

impl FoldedNet {
    /// The same net with centred pools of 9x9, 13x13, 17x17, .. of stride 1 as chains of two, three, four, .. pools of
    /// 5x5, which give exactly the same: the maximum of maxima. Pools of one map share their chain, so that spatial
    /// pyramid pooling is three pools of 5x5 in a row.
    #[must_use]
    pub fn with_chained_pools(self) -> Self {
        let mut chained = Self { input: self.input, nodes: Vec::with_capacity(self.nodes.len()), heads: Vec::new() };
        let mut values = Vec::with_capacity(self.nodes.len());
        let mut chains: HashMap<Value, Vec<Value>> = HashMap::new();
        let moved = |values: &[Value], value: Value| match value {
            Value::Image => Value::Image,
            Value::Node(i) => values[i],
        };
        for mut node in self.nodes {
            node.inputs.iter_mut().for_each(|input| *input = moved(&values, *input));
            values.push(match links(&node.operator) {
                Some(links) => {
                    let chain = chains.entry(node.inputs[0]).or_default();
                    chained.lengthen(chain, links, &node);
                    chain[links - 1]
                }
                None => chained.push(node),
            });
        }
        let heads = self.heads.into_iter().map(|head| Head { value: moved(&values, head.value), ..head });
        chained.heads = heads.collect();
        chained
    }

    /// Adds links of 5x5 until the chain has as many as asked for.
    fn lengthen(&mut self, chain: &mut Vec<Value>, links: usize, node: &Node) {
        for i in 0..links.saturating_sub(chain.len()) {
            let name = if i == 0 { node.name.clone() } else { format!("{}_{i}", node.name) };
            let inputs = vec![chain.last().copied().unwrap_or(node.inputs[0])];
            let link = self.push(Node { name, operator: Operator::MaxPool(LINK), inputs, ..node.clone() });
            chain.push(link);
        }
    }

    fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value::Node(self.nodes.len() - 1)
    }
}

/// How many 5x5 pools in a row give this one, if any do.
fn links(operator: &Operator) -> Option<usize> {
    let Operator::MaxPool(pool) = operator else { return None };
    let centred = pool.padding == pool.size - 1 && pool.stride_x == 1 && pool.stride_y == 1;
    (centred && pool.size > 1 && pool.size % 4 == 1).then_some(pool.size / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::darknet::Cfg;

    #[test]
    fn pyramid_pooling_becomes_three_pools_in_a_row() {
        let pool = |size| format!("[maxpool]\nsize={size}\nstride=1\n");
        let text = format!(
            "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\n{}[route]\nlayers=0\n{}[route]\nlayers=0\n{}\
             [route]\nlayers=-1,-3,-5,0\n",
            pool(5),
            pool(9),
            pool(13)
        );
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let net = FoldedNet::of(&network).with_chained_pools();
        let pools: Vec<&Node> = net.nodes.iter().filter(|n| matches!(n.operator, Operator::MaxPool(_))).collect();
        assert_eq!(pools.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["pool1", "pool3", "pool5"]);
        assert_eq!(pools.iter().map(|n| n.inputs[0]).collect::<Vec<_>>(), [0, 1, 2].map(Value::Node));
        assert!(pools.iter().all(|n| n.operator == Operator::MaxPool(LINK)));
        assert_eq!(net.nodes[4].inputs, [3, 2, 1, 0].map(Value::Node), "the concatenation reads each of them");
    }

    #[test]
    fn a_single_wide_pool_is_a_chain_of_its_own_and_others_stay() {
        let text = "[net]\nwidth=8\nheight=8\n[maxpool]\nsize=13\nstride=1\n[maxpool]\nsize=2\nstride=2\n";
        let network = Network::initialise(Cfg::parse(text.as_bytes()).unwrap(), 1).unwrap();
        let net = FoldedNet::of(&network).with_chained_pools();
        let names: Vec<_> = net.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["pool0", "pool0_1", "pool0_2", "pool1"]);
        assert!(matches!(&net.nodes[3].operator, Operator::MaxPool(p) if p.size == 2));
    }
}
