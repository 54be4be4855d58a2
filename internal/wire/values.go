package wire

import (
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	clusterv1 "github.com/holdfast-go/holdfast/proto/cluster/v1"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

func nodeToPB(n member.Node) *clusterv1.Node {
	if n == (member.Node{}) {
		return nil
	}
	return &clusterv1.Node{Id: string(n.ID), Addr: n.Addr}
}

func nodeFromPB(n *clusterv1.Node) member.Node {
	return member.Node{ID: member.NodeID(n.GetId()), Addr: n.GetAddr()}
}

func memberToPB(m member.Member) *clusterv1.Member {
	return &clusterv1.Member{
		Node: nodeToPB(m.Node), Status: uint32(m.Status), Zone: m.Zone, Roles: m.Roles,
		AppVersion: m.AppVersion, JoinedAt: m.JoinedAt,
	}
}

func memberFromPB(m *clusterv1.Member) (member.Member, error) {
	n := nodeFromPB(m.GetNode())
	if n.ID == "" || n.Addr == "" {
		return member.Member{}, errors.New("wire: member: node id or address is missing")
	}
	s, err := statusFromPB(m.GetStatus())
	if err != nil {
		return member.Member{}, err
	}
	return member.Member{
		Node: n, Status: s, Zone: m.GetZone(), Roles: m.GetRoles(),
		AppVersion: m.GetAppVersion(), JoinedAt: m.GetJoinedAt(),
	}, nil
}

func statusFromPB(s uint32) (member.Status, error) {
	if s < uint32(member.Joining) || s > uint32(member.Removed) {
		return 0, fmt.Errorf("wire: member: unknown status %d", s)
	}
	return member.Status(s), nil
}

func typesToPB(types map[string]int) map[string]uint32 {
	out := make(map[string]uint32, len(types))
	for name, n := range types {
		out[name] = uint32(n)
	}
	return out
}

func typesFromPB(types map[string]uint32) (map[string]int, error) {
	out := make(map[string]int, len(types))
	for name, n := range types {
		if n > placement.MaxShards {
			return nil, fmt.Errorf("wire: type %q: %d shards are over the bound of %d", name, n, placement.MaxShards)
		}
		out[name] = int(n)
	}
	return out, nil
}

func opsToPB(ops []placement.Op) []*clusterv1.Op {
	out := make([]*clusterv1.Op, len(ops))
	for i, op := range ops {
		out[i] = &clusterv1.Op{Kind: uint32(op.Kind), Type: op.Key.Type, Shard: uint32(op.Key.Shard), Node: string(op.Node), Epoch: op.Epoch}
	}
	return out
}

func opsFromPB(ops []*clusterv1.Op) ([]placement.Op, error) {
	out := make([]placement.Op, len(ops))
	for i, op := range ops {
		if op.GetKind() < uint32(placement.Assign) || op.GetKind() > uint32(placement.Release) {
			return nil, fmt.Errorf("wire: op: unknown kind %d", op.GetKind())
		}
		if op.GetShard() >= placement.MaxShards {
			return nil, fmt.Errorf("wire: op: shard %d is over the bound of %d", op.GetShard(), placement.MaxShards)
		}
		out[i] = placement.Op{
			Kind: placement.OpKind(op.GetKind()), Key: placement.Key{Type: op.GetType(), Shard: int(op.GetShard())},
			Node: member.NodeID(op.GetNode()), Epoch: op.GetEpoch(),
		}
	}
	return out, nil
}

func tableToPB(s table.Snapshot) *clusterv1.Table {
	pb := &clusterv1.Table{Generation: s.Generation, Index: s.Index, Settings: s.Settings, Types: typesToPB(s.Types), Expired: map[string]uint64{}}
	for _, m := range s.Members {
		pb.Members = append(pb.Members, memberToPB(m))
	}
	for _, c := range s.Shards {
		pb.Shards = append(pb.Shards, &clusterv1.ShardRow{
			Type: c.Type, Shard: uint32(c.Shard), State: uint32(c.Row.State), Owner: string(c.Row.Owner),
			Epoch: c.Row.Epoch, To: string(c.Row.To), Since: c.Row.Since,
		})
	}
	for id, index := range s.Expired {
		pb.Expired[string(id)] = index
	}
	return pb
}

func tableFromPB(pb *clusterv1.Table) (table.Snapshot, error) {
	types, err := typesFromPB(pb.Types)
	if err != nil {
		return table.Snapshot{}, err
	}
	s := table.Snapshot{
		Generation: pb.Generation, Index: pb.Index, Settings: pb.Settings, Types: types,
		Expired: make(map[member.NodeID]uint64, len(pb.Expired)),
	}
	for _, m := range pb.Members {
		mm, err := memberFromPB(m)
		if err != nil {
			return table.Snapshot{}, err
		}
		s.Members = append(s.Members, mm)
	}
	for _, r := range pb.Shards {
		if r.GetState() > uint32(placement.Moving) {
			return table.Snapshot{}, fmt.Errorf("wire: shard row: unknown state %d", r.GetState())
		}
		if r.GetShard() >= placement.MaxShards {
			return table.Snapshot{}, fmt.Errorf("wire: shard row: shard %d is over the bound of %d", r.GetShard(), placement.MaxShards)
		}
		s.Shards = append(s.Shards, placement.Change{
			Key: placement.Key{Type: r.GetType(), Shard: int(r.GetShard())},
			Row: placement.Shard{
				State: placement.State(r.GetState()), Owner: member.NodeID(r.GetOwner()), Epoch: r.GetEpoch(),
				To: member.NodeID(r.GetTo()), Since: r.GetSince(),
			},
		})
	}
	for id, index := range pb.Expired {
		s.Expired[member.NodeID(id)] = index
	}
	return s, nil
}
