locals {
  alarms = {
    memory = {
      metric      = "DatabaseMemoryUsagePercentage"
      statistic   = "Maximum"
      threshold   = 80
      description = "Memory is filling up. When it is full every charge is refused: nothing is evicted."
    }
    cpu = {
      metric      = "EngineCPUUtilization"
      statistic   = "Average"
      threshold   = 80
      description = "The one thread that runs commands and scripts is busy; calls wait for each other."
    }
    evictions = {
      metric      = "Evictions"
      statistic   = "Sum"
      threshold   = 0
      description = "Keys were evicted: budgets are lost. The parameter group should say noeviction."
    }
    replication_lag = {
      metric      = "ReplicationLag"
      statistic   = "Maximum"
      threshold   = 5
      description = "A replica is seconds behind. A failover now forgets as much."
    }
  }

  node_alarms = {
    for pair in setproduct(local.nodes, keys(local.alarms)) :
    "${pair[0]}-${pair[1]}" => merge(local.alarms[pair[1]], { node = pair[0] })
  }
}

resource "aws_cloudwatch_metric_alarm" "node" {
  for_each = local.node_alarms

  alarm_name        = each.key
  alarm_description = each.value.description

  namespace   = "AWS/ElastiCache"
  metric_name = each.value.metric
  dimensions  = { CacheClusterId = each.value.node }

  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = 3
  # The primary has no lag to tell.
  treat_missing_data = "notBreaching"

  alarm_actions = var.alarm_topic_arns
  ok_actions    = var.alarm_topic_arns
  tags          = var.tags

  depends_on = [aws_elasticache_replication_group.this]
}
