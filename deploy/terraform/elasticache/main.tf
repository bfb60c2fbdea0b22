locals {
  defaults = {
    valkey = { version = "8.0", family = "valkey8" }
    redis  = { version = "7.1", family = "redis7" }
  }
  engine_version = coalesce(var.engine_version, local.defaults[var.engine].version)
  family         = coalesce(var.parameter_group_family, local.defaults[var.engine].family)
  port           = 6379
  nodes          = [for number in range(1, var.replicas + 2) : format("%s-%03d", var.name, number)]
}

resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
  tags       = var.tags
}

resource "aws_elasticache_parameter_group" "this" {
  # Another family is another group, and the old one is in use until the engine has changed.
  name   = "${var.name}-${replace(local.family, ".", "-")}"
  family = local.family
  tags   = var.tags

  # The default, volatile-lru, would erase budgets when memory is full: every key of costguard has a TTL.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "this" {
  name        = "${var.name}-elasticache"
  description = "Clients of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "client" {
  for_each = var.client_security_group_ids

  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = each.value
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = var.name
  description          = "Budgets and limits of ${var.name}"

  engine               = var.engine
  engine_version       = local.engine_version
  node_type            = var.node_type
  parameter_group_name = aws_elasticache_parameter_group.this.name
  port                 = local.port

  num_cache_clusters         = var.replicas + 1
  automatic_failover_enabled = true
  multi_az_enabled           = true

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this.id]

  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  auth_token                 = var.auth_token
  auth_token_update_strategy = var.auth_token_update_strategy

  snapshot_retention_limit = var.snapshot_retention_days
  apply_immediately        = true
  tags                     = var.tags
}
