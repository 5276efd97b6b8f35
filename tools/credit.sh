#!/usr/bin/env bash
# HMF's credit, factor by factor, its number of groups and the appendix's ablations on a task: trains (what is finished is skipped, what
# was interrupted continues), compares, measures the noise of the updates, and brings docs/credit_TASK.md up to date:
#   tools/credit.sh TASK [OPTIONS OF src/sweep.py]     (tasks: bar battle spread pursuit)
# Example: tools/credit.sh bar --workers 2
source "$(dirname "$0")/common.bash"
task=${1:-}
if [ ! -f "src/config/experiments/credit_$task.yaml" ]; then
    refuse "no task '$task'"
fi
shift
out=docs/credit/$task
experiments=()
declare -A sizes=([bar]="capacity=30 capacity=80" [spread]="n_agents=12 n_agents=24")
declare -A longer=([pursuit]="hmf td_level=agent" [bar]="hmf agents and field" [battle]="hmf agents and field")

mkdir -p "$out"
for part in credit sizes sharing sharing_methods groups appendix appendix_ipc ipc_features grouping crossed crossed_sizes regrouped longer; do
    [ -f "src/config/experiments/${part}_$task.yaml" ] || continue
    experiments+=(--experiment "${part}_$task")
    kept=("results.md=$out/$part.md" "runs.md=$out/${part}_runs.md")
    options=()
    case $part in
        credit) kept+=("curves_$task.png=$out/curves.png") ;;
        groups)
            options=(--across n_groups)
            kept+=("across.png=$out/groups.png") ;;
        grouping)
            options=(--score tail --reference "hmf fixed")
            kept+=("ablation.md=$out/grouping_differences.md") ;;
        crossed | crossed_sizes | regrouped) # of so many forms the page shows what each factor does
            options=(--score tail --factors)
            kept=("factors.md=$out/$part.md" "runs.md=$out/${part}_runs.md" "results.csv=$out/${part}_forms.csv")
            if [ "$part" = crossed_sizes ]; then
                for size in ${sizes[$task]}; do kept+=("factors_${task}_env_args.$size.png=$out/crossed_${size#*=}.png"); done
            else
                kept+=("factors_$task.png=$out/$part.png")
            fi ;;
        longer) # beside the final runs: tools/final.sh, or their records by src/runs.py unpack
            options=(--experiment "final_$task" --score tail --reference "${longer[$task]}")
            kept+=("ablation.md=$out/longer_differences.md" "curves_$task.png=$out/longer.png") ;;
    esac
    claims=$out/claims_$part.yaml
    if [ -f "$claims" ]; then
        options+=(--score tail --claims "$claims")
        kept+=("verdicts.md=$out/${part}_verdicts.md")
    fi
    "$python" src/sweep.py "${part}_$task" "$@"
    report "${part}_$task" "${kept[@]}" -- --experiment "${part}_$task" "${options[@]}"
    case $task-$part in battle-credit | battle-sharing | battle-sharing_methods | battle-appendix_ipc)
        report "${part}_kills" "results.md=$out/${part}_kills.md" -- --experiment "${part}_$task" --metric test_kills ;;
    battle-ipc_features) # whether groups are neighbourhoods, and the printed ones on a map
        report "${part}_locality" "results.md=$out/${part}_locality.md" "curves_battle.png=$out/${part}_locality.png" -- \
            --experiment "${part}_battle" --metric group_locality
        report "${part}_size" "results.md=$out/${part}_size.md" -- --experiment "${part}_battle" --metric group_size_max
        if has_policies "${part}_battle"; then
            id=$(finished "${part}_battle" "hmf_ipc as printed, anew battle seed=701")
            "$python" src/evaluate.py --run "$id" --episodes 1 --every 25 --colour group --video "$out/$part.png" with env_args.swap_sides=never
        fi ;;
    pursuit-crossed | pursuit-regrouped) # agents' credit is still climbing when it is evaluated last
        report "${part}_final" "factors.md=$out/${part}_final.md" -- --experiment "${part}_pursuit" --score final --factors ;;
    esac
    if [ "$part" = credit ] && has_policies "credit_$task"; then
        "$python" src/noise.py --experiment "credit_$task" --out results/tmp/noise
        cp results/tmp/noise/noise.md "$out/noise.md"
    fi
    "$python" src/runs.py pack "$out/records.tar.xz" "${experiments[@]}"
done
if [ "$task" = bar ]; then # who goes, at all three capacities
    report attendance "results.md=$out/attendance.md" "curves.png=$out/attendance.png" -- \
        --experiment credit_bar --experiment sizes_bar mean_field_action=none --metric test_attendance
    report attendance_std "results.md=$out/attendance_std.md" -- \
        --experiment credit_bar --experiment sizes_bar mean_field_action=none --metric test_attendance_std
    for part in sharing_methods longer; do
        file=$out/${part%_methods}_attendance.md
        report "${part}_attendance" "results.md=$file" -- --experiment "${part}_bar" --metric test_attendance
    done
elif [ "$task" = spread ]; then # what sharing changes for 24 agents
    for metric in collisions distance; do
        report "sharing_$metric" "results.md=$out/sharing_$metric.md" -- \
            --experiment sharing_methods_spread env_args.n_agents=24 --metric "test_$metric"
    done
fi
if has_policies credit_bar && has_policies credit_battle && has_policies credit_pursuit && has_policies credit_spread; then # what single agents add
    "$python" src/noise.py --experiment credit_bar --experiment credit_battle --experiment credit_pursuit \
        --experiment credit_spread gmf_coef=0.0 mean_field_action=none --out results/tmp/noise_agents
    cp results/tmp/noise_agents/noise.md docs/credit/noise_agents.md
fi
fill "docs/credit_$task.md" docs/credit.md results/paper/verdicts.md
