//! The ways to change a graph.

use super::*;

fn constant(graph: &mut Graph, block: Block, value: i32) -> Value {
    let inst = graph.push_inst(
        block,
        Op::I32Const,
        &[],
        Imm::I32(value),
        None,
        &[Type::I32],
    );
    graph.result(inst)
}

fn jump(graph: &mut Graph, from: Block, to: Block, args: &[Value]) -> Edge {
    let inst = graph.push_inst(from, Op::Jump, &[], Imm::None, None, &[]);
    graph.add_edge(inst, to, args)
}

fn block(graph: &mut Graph) -> Block {
    let block = graph.make_block();
    graph.append_block(block);
    block
}

fn ops(graph: &Graph, block: Block) -> Vec<Inst> {
    let forward: Vec<Inst> = graph.insts(block).collect();
    let last = graph.last_inst(block);
    let mut backward: Vec<Inst> =
        std::iter::successors(last, |&inst| graph.prev_inst(inst)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert!(
        forward
            .iter()
            .all(|&inst| graph.inst_block(inst) == Some(block))
    );
    forward
}

#[test]
fn instructions_are_placed_and_removed() {
    let mut g = Graph::new();
    let b = block(&mut g);
    let insts: Vec<Inst> = (0..4)
        .map(|i| g.make_inst(Op::I32Const, &[], Imm::I32(i), None, &[Type::I32]))
        .collect();
    g.append_inst(insts[1], b);
    g.prepend_inst(insts[0], b);
    g.append_inst(insts[3], b);
    g.insert_before(insts[2], insts[3]);
    assert_eq!(ops(&g, b), insts);
    g.remove_inst(insts[1]);
    assert_eq!(ops(&g, b), [insts[0], insts[2], insts[3]]);
    g.remove_inst(insts[0]);
    g.remove_inst(insts[3]);
    assert_eq!(ops(&g, b), [insts[2]]);
    g.append_inst(insts[0], b);
    assert_eq!(ops(&g, b), [insts[2], insts[0]]);
}

#[test]
fn the_tail_of_a_block_moves() {
    let mut g = Graph::new();
    let (a, b) = (block(&mut g), block(&mut g));
    for i in 0..5 {
        constant(&mut g, a, i);
    }
    let all = ops(&g, a);
    g.move_tail(all[2], b);
    assert_eq!(
        (ops(&g, a), ops(&g, b)),
        (all[..2].to_vec(), all[2..].to_vec())
    );
    g.move_tail(all[0], b);
    let moved = [2, 3, 4, 0, 1].map(|i: usize| all[i]);
    assert_eq!((ops(&g, a), ops(&g, b)), (vec![], moved.to_vec()));
}

#[test]
fn blocks_have_an_order() {
    let mut g = Graph::new();
    let (a, b) = (block(&mut g), block(&mut g));
    let c = g.make_block();
    g.insert_block_after(c, a);
    let d = g.make_block();
    g.insert_block_after(d, b);
    assert_eq!(g.blocks().collect::<Vec<_>>(), [a, c, b, d]);
    g.remove_block(c);
    g.remove_block(d);
    assert!(!g.in_layout(c));
    assert_eq!(g.blocks().collect::<Vec<_>>(), [a, b]);
    assert_eq!((g.prev_block(b), g.next_block(b)), (Some(a), None));
    g.clear();
    assert_eq!(g.blocks().count(), 0);
}

#[test]
fn operands_may_be_many() {
    let mut g = Graph::new();
    let b = block(&mut g);
    let values: Vec<Value> = (0..10).map(|i| constant(&mut g, b, i)).collect();
    for n in 0..10 {
        let inst = g.push_inst(b, Op::Return, &values[..n], Imm::None, None, &[]);
        assert_eq!(g.args(inst), &values[..n]);
        for m in [9, 2, 4, 10, 0, 3] {
            g.replace(inst, Op::Return, &values[..m], Imm::None);
            assert_eq!(g.args(inst), &values[..m]);
            g.args_mut(inst).reverse();
            assert!(g.args(inst).iter().rev().eq(&values[..m]));
        }
    }
}

#[test]
fn parameters_are_removed_with_their_arguments() {
    let mut g = Graph::new();
    let (a, b) = (block(&mut g), block(&mut g));
    let values: Vec<Value> = (0..4).map(|i| constant(&mut g, a, i)).collect();
    let params: Vec<Value> = (0..4).map(|_| g.append_param(b, Type::I32)).collect();
    let edge = jump(&mut g, a, b, &values);
    g.alias(params[2], values[2]);
    g.retain_params(b, &[edge], |i, _| i % 2 == 1);
    assert_eq!(g.params(b), [params[1], params[3]]);
    assert_eq!(g.edge_args(edge), [values[1], values[3]]);
    assert_eq!(g.def(params[3]), ValueDef::Param(b, 1));
    assert_eq!(g.def(params[0]), ValueDef::Detached);
    assert_eq!(g.resolve(params[2]), values[2]);
}

#[test]
fn aliases_resolve_everywhere() {
    let mut g = Graph::new();
    let (a, b) = (block(&mut g), block(&mut g));
    let value = constant(&mut g, a, 1);
    let names: Vec<Value> = (0..1000).map(|_| g.make_value(Type::I32)).collect();
    let param = g.append_param(b, Type::I32);
    let edge = jump(&mut g, a, b, &[names[0]]);
    let short = g.push_inst(
        b,
        Op::I32Add,
        &[names[5], param],
        Imm::None,
        None,
        &[Type::I32],
    );
    let long = g.push_inst(b, Op::Return, &names[..7], Imm::None, None, &[]);
    // Each to the next while that is none yet: the longest chain there is.
    for pair in names.windows(2) {
        g.alias(pair[0], pair[1]);
    }
    g.alias(names[999], value);
    assert_eq!(g.resolve(names[0]), value);
    g.resolve_aliases();
    assert_eq!(g.edge_args(edge), [value]);
    assert_eq!(g.args(short), [value, param]);
    assert_eq!(g.args(long), [value; 7]);
}

#[test]
fn equal_constants_have_one_number() {
    let mut g = Graph::new();
    let a = g.make_constant(7);
    assert_ne!(a, g.make_constant(8));
    assert_eq!(a, g.make_constant(7));
    assert_eq!(g.constant(a), 7);
}

#[test]
fn predecessors_and_order_are_those_of_reachable_blocks() {
    let mut g = Graph::new();
    let blocks: Vec<Block> = (0..5).map(|_| block(&mut g)).collect();
    let [entry, head, body, exit, dead] = blocks[..] else {
        unreachable!()
    };
    let enter = jump(&mut g, entry, head, &[]);
    let condition = constant(&mut g, head, 1);
    let hint = Imm::Hint(Hint::Unknown);
    let branch = g.push_inst(head, Op::BranchIf, &[condition], hint, None, &[]);
    let (to_body, to_exit) = (g.add_edge(branch, body, &[]), g.add_edge(branch, exit, &[]));
    let back = jump(&mut g, body, head, &[]);
    g.push_inst(exit, Op::Return, &[], Imm::None, None, &[]);
    jump(&mut g, dead, head, &[]);

    let mut cfg = Cfg::new();
    for _ in 0..2 {
        cfg.compute(&g);
        assert_eq!(
            cfg.reverse_postorder().collect::<Vec<_>>(),
            [entry, head, body, exit]
        );
        assert_eq!(cfg.preds(head), [enter, back]);
        assert_eq!(cfg.preds(body), [to_body]);
        assert_eq!(cfg.preds(exit), [to_exit]);
        assert_eq!(cfg.pred_insts(exit), [branch]);
        assert!(cfg.preds(entry).is_empty() && cfg.preds(dead).is_empty());
        assert!(!cfg.is_reachable(dead) && cfg.postorder_position(dead).is_none());
    }
    g.replace_with_jump(branch, 1);
    cfg.compute(&g);
    assert_eq!(
        cfg.reverse_postorder().collect::<Vec<_>>(),
        [entry, head, exit]
    );
    assert_eq!(g.successors(head).collect::<Vec<_>>(), [exit]);
}
