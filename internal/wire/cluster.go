package wire

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	clusterv1 "github.com/holdfast-go/holdfast/proto/cluster/v1"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Entry is a committed command and its index.
type Entry struct {
	Index   uint64
	Command []byte
}

// Push is what a leader sends to the members: entries that follow Prev, or a
// whole table.
type Push struct {
	Generation, Term uint64
	Leader           member.Node
	Prev             uint64
	Entries          []Entry
	Table            *table.Snapshot
}

// PushReply answers a Push.
type PushReply struct {
	Applied uint64
	Refusal string
}

// Renew asks for the renewal of a session.
type Renew struct {
	ID         member.NodeID
	Generation uint64
	Applied    uint64
	RaftIndex  uint64
}

// LeaderReply answers requests to the leader.
type LeaderReply struct {
	OK          bool
	Refusal     string
	Final       bool
	NotLeader   bool
	Leader      member.Node
	Generation  uint64
	Term        uint64
	ExpireIndex uint64
	Gone        bool
}

// JoinRequest asks to be accepted as a member.
type JoinRequest struct {
	Member   member.Member
	Cluster  string
	Settings map[string]string
}

// Propose asks the leader to commit a member's own status or releases.
type Propose struct {
	Generation uint64
	ID         member.NodeID
	Status     member.Status // 0 for none
	Ops        []placement.Op
}

// FloorRequest asks a voter when it last heard a leader older than Term.
type FloorRequest struct{ Generation, Term uint64 }

// FloorReply answers a FloorRequest.
type FloorReply struct {
	OK      bool
	Refusal string
	Heard   bool
	Age     time.Duration
}

// EncodeCommand encodes a command for the log.
func EncodeCommand(c table.Command) ([]byte, error) {
	var pb clusterv1.Command
	switch c := c.(type) {
	case table.Form:
		pb.Form = &clusterv1.Form{Generation: c.Generation, Settings: c.Settings, Types: typesToPB(c.Types), Member: memberToPB(c.Member)}
	case table.Join:
		pb.Join = &clusterv1.Join{Member: memberToPB(c.Member)}
	case table.SetStatus:
		pb.SetStatus = &clusterv1.SetStatus{Id: string(c.ID), Status: uint32(c.Status)}
	case table.Expire:
		pb.Expire = &clusterv1.Expire{Id: string(c.ID)}
	case table.Place:
		pb.Place = &clusterv1.Place{Ops: opsToPB(c.Ops)}
	default:
		return nil, fmt.Errorf("wire: unknown command %T", c)
	}
	return proto.Marshal(&pb)
}

// DecodeCommand decodes a command of the log.
func DecodeCommand(b []byte) (table.Command, error) {
	var pb clusterv1.Command
	if err := proto.Unmarshal(b, &pb); err != nil {
		return nil, fmt.Errorf("wire: command: %w", err)
	}
	switch {
	case pb.Form != nil:
		types, err := typesFromPB(pb.Form.Types)
		if err != nil {
			return nil, err
		}
		m, err := memberFromPB(pb.Form.Member)
		return table.Form{Generation: pb.Form.Generation, Settings: pb.Form.Settings, Types: types, Member: m}, err
	case pb.Join != nil:
		m, err := memberFromPB(pb.Join.Member)
		return table.Join{Member: m}, err
	case pb.SetStatus != nil:
		s, err := statusFromPB(pb.SetStatus.Status)
		return table.SetStatus{ID: member.NodeID(pb.SetStatus.Id), Status: s}, err
	case pb.Expire != nil:
		return table.Expire{ID: member.NodeID(pb.Expire.Id)}, nil
	case pb.Place != nil:
		ops, err := opsFromPB(pb.Place.Ops)
		return table.Place{Ops: ops}, err
	}
	return nil, errors.New("wire: command of a kind this version does not know")
}

// EncodeTable encodes a whole table.
func EncodeTable(s table.Snapshot) ([]byte, error) { return proto.Marshal(tableToPB(s)) }

// DecodeTable decodes a whole table.
func DecodeTable(b []byte) (table.Snapshot, error) {
	var pb clusterv1.Table
	if err := proto.Unmarshal(b, &pb); err != nil {
		return table.Snapshot{}, fmt.Errorf("wire: table: %w", err)
	}
	return tableFromPB(&pb)
}

// EncodePush encodes a Push.
func EncodePush(p Push) ([]byte, error) {
	pb := &clusterv1.Push{Generation: p.Generation, Term: p.Term, Leader: nodeToPB(p.Leader), Prev: p.Prev}
	for _, e := range p.Entries {
		pb.Entries = append(pb.Entries, &clusterv1.Entry{Index: e.Index, Command: e.Command})
	}
	if p.Table != nil {
		pb.Table = tableToPB(*p.Table)
	}
	return proto.Marshal(pb)
}

// DecodePush decodes a Push.
func DecodePush(b []byte) (Push, error) {
	var pb clusterv1.Push
	if err := proto.Unmarshal(b, &pb); err != nil {
		return Push{}, fmt.Errorf("wire: push: %w", err)
	}
	p := Push{Generation: pb.Generation, Term: pb.Term, Leader: nodeFromPB(pb.Leader), Prev: pb.Prev}
	for _, e := range pb.Entries {
		p.Entries = append(p.Entries, Entry{Index: e.GetIndex(), Command: e.GetCommand()})
	}
	if pb.Table != nil {
		s, err := tableFromPB(pb.Table)
		if err != nil {
			return Push{}, err
		}
		p.Table = &s
	}
	return p, nil
}

// EncodePushReply encodes a PushReply.
func EncodePushReply(r PushReply) ([]byte, error) {
	return proto.Marshal(&clusterv1.PushReply{Applied: r.Applied, Refusal: r.Refusal})
}

// DecodePushReply decodes a PushReply.
func DecodePushReply(b []byte) (PushReply, error) {
	var pb clusterv1.PushReply
	if err := proto.Unmarshal(b, &pb); err != nil {
		return PushReply{}, fmt.Errorf("wire: push reply: %w", err)
	}
	return PushReply{Applied: pb.Applied, Refusal: pb.Refusal}, nil
}

// EncodeRenew encodes a Renew.
func EncodeRenew(r Renew) ([]byte, error) {
	return proto.Marshal(&clusterv1.Renew{Id: string(r.ID), Generation: r.Generation, Applied: r.Applied, RaftIndex: r.RaftIndex})
}

// DecodeRenew decodes a Renew.
func DecodeRenew(b []byte) (Renew, error) {
	var pb clusterv1.Renew
	if err := proto.Unmarshal(b, &pb); err != nil {
		return Renew{}, fmt.Errorf("wire: renew: %w", err)
	}
	return Renew{ID: member.NodeID(pb.Id), Generation: pb.Generation, Applied: pb.Applied, RaftIndex: pb.RaftIndex}, nil
}

// EncodeLeaderReply encodes a LeaderReply.
func EncodeLeaderReply(r LeaderReply) ([]byte, error) {
	return proto.Marshal(&clusterv1.LeaderReply{
		Ok: r.OK, Refusal: r.Refusal, Final: r.Final, NotLeader: r.NotLeader, Leader: nodeToPB(r.Leader),
		Generation: r.Generation, Term: r.Term, ExpireIndex: r.ExpireIndex, Gone: r.Gone,
	})
}

// DecodeLeaderReply decodes a LeaderReply.
func DecodeLeaderReply(b []byte) (LeaderReply, error) {
	var pb clusterv1.LeaderReply
	if err := proto.Unmarshal(b, &pb); err != nil {
		return LeaderReply{}, fmt.Errorf("wire: leader reply: %w", err)
	}
	return LeaderReply{
		OK: pb.Ok, Refusal: pb.Refusal, Final: pb.Final, NotLeader: pb.NotLeader, Leader: nodeFromPB(pb.Leader),
		Generation: pb.Generation, Term: pb.Term, ExpireIndex: pb.ExpireIndex, Gone: pb.Gone,
	}, nil
}

// EncodeJoinRequest encodes a JoinRequest.
func EncodeJoinRequest(r JoinRequest) ([]byte, error) {
	return proto.Marshal(&clusterv1.JoinRequest{Member: memberToPB(r.Member), Cluster: r.Cluster, Settings: r.Settings})
}

// DecodeJoinRequest decodes a JoinRequest.
func DecodeJoinRequest(b []byte) (JoinRequest, error) {
	var pb clusterv1.JoinRequest
	if err := proto.Unmarshal(b, &pb); err != nil {
		return JoinRequest{}, fmt.Errorf("wire: join request: %w", err)
	}
	m, err := memberFromPB(pb.Member)
	return JoinRequest{Member: m, Cluster: pb.Cluster, Settings: pb.Settings}, err
}

// EncodePropose encodes a Propose.
func EncodePropose(p Propose) ([]byte, error) {
	return proto.Marshal(&clusterv1.Propose{Generation: p.Generation, Id: string(p.ID), Status: uint32(p.Status), Ops: opsToPB(p.Ops)})
}

// DecodePropose decodes a Propose.
func DecodePropose(b []byte) (Propose, error) {
	var pb clusterv1.Propose
	if err := proto.Unmarshal(b, &pb); err != nil {
		return Propose{}, fmt.Errorf("wire: propose: %w", err)
	}
	p := Propose{Generation: pb.Generation, ID: member.NodeID(pb.Id)}
	var err error
	if pb.Status != 0 {
		if p.Status, err = statusFromPB(pb.Status); err != nil {
			return Propose{}, err
		}
	}
	p.Ops, err = opsFromPB(pb.Ops)
	return p, err
}

// EncodeSuspect encodes the node that a Suspect message names.
func EncodeSuspect(n member.Node) ([]byte, error) {
	return proto.Marshal(&clusterv1.Suspect{Id: string(n.ID), Addr: n.Addr})
}

// DecodeSuspect decodes a Suspect message.
func DecodeSuspect(b []byte) (member.Node, error) {
	var pb clusterv1.Suspect
	if err := proto.Unmarshal(b, &pb); err != nil {
		return member.Node{}, fmt.Errorf("wire: suspect: %w", err)
	}
	return member.Node{ID: member.NodeID(pb.Id), Addr: pb.Addr}, nil
}

// EncodeFloorRequest encodes a FloorRequest.
func EncodeFloorRequest(r FloorRequest) ([]byte, error) {
	return proto.Marshal(&clusterv1.FloorRequest{Generation: r.Generation, Term: r.Term})
}

// DecodeFloorRequest decodes a FloorRequest.
func DecodeFloorRequest(b []byte) (FloorRequest, error) {
	var pb clusterv1.FloorRequest
	if err := proto.Unmarshal(b, &pb); err != nil {
		return FloorRequest{}, fmt.Errorf("wire: floor request: %w", err)
	}
	return FloorRequest{Generation: pb.Generation, Term: pb.Term}, nil
}

// EncodeFloorReply encodes a FloorReply.
func EncodeFloorReply(r FloorReply) ([]byte, error) {
	return proto.Marshal(&clusterv1.FloorReply{Ok: r.OK, Refusal: r.Refusal, Heard: r.Heard, AgeNanos: uint64(max(0, r.Age))})
}

// DecodeFloorReply decodes a FloorReply.
func DecodeFloorReply(b []byte) (FloorReply, error) {
	var pb clusterv1.FloorReply
	if err := proto.Unmarshal(b, &pb); err != nil {
		return FloorReply{}, fmt.Errorf("wire: floor reply: %w", err)
	}
	// An age beyond what a Duration holds is as good as never.
	age := time.Duration(min(pb.AgeNanos, uint64(1<<62)))
	return FloorReply{OK: pb.Ok, Refusal: pb.Refusal, Heard: pb.Heard, Age: age}, nil
}
