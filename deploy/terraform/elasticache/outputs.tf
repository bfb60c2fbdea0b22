output "redis_url" {
  description = "REDIS_URL for the service. The password goes into REDIS_PASSWORD."
  value       = "rediss://${aws_elasticache_replication_group.this.primary_endpoint_address}:${local.port}/0"
}

output "security_group_id" {
  description = "The security group of the store."
  value       = aws_security_group.this.id
}
