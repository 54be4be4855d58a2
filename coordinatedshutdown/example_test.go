package coordinatedshutdown_test

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/coordinatedshutdown"
)

func Example() {
	shutdown, err := coordinatedshutdown.New(coordinatedshutdown.Config{
		Phases: []coordinatedshutdown.Phase{
			// One of our own, between two of the standard ones.
			{Name: "flush-audit-log", DependsOn: []string{coordinatedshutdown.ServiceStop}, Timeout: 2 * time.Second},
			{Name: coordinatedshutdown.BeforeClusterShutdown, DependsOn: []string{"flush-audit-log"}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, phase := range []string{coordinatedshutdown.BeforeClusterShutdown, "flush-audit-log", coordinatedshutdown.ServiceUnbind} {
		_, err := shutdown.AddTask(phase, "print", 0, func(context.Context) error {
			fmt.Println(phase)
			return nil
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	_, err = shutdown.AddTask(coordinatedshutdown.ServiceUnbind, "wait", 15*time.Second, func(context.Context) error { return nil })
	fmt.Println(err)
	err = shutdown.Run(context.Background(), coordinatedshutdown.Terminated)
	reason, _ := shutdown.Reason()
	fmt.Println(err, reason, reason.ExitCode())
	// Output:
	// coordinatedshutdown: task is longer than its phase: wait wants 15s, phase service-unbind has 2s; shorten it or raise the phase in Config.Phases
	// service-unbind
	// flush-audit-log
	// before-cluster-shutdown
	// <nil> terminated 0
}
